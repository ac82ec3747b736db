// The numbers at the chosen patches as real tables, for screen readers and for copying.

import { direction, fixed, make } from "./dom.js";
import { greatestOf, hasMoreLayers } from "./layers.js";

/** The tables of the chosen patches, and that of the layers where there are more than those of the score. */
export function tables(scored, numbers, order, where) {
  const found = [partsTable(scored, numbers, where), neuronsTable(scored, numbers, order, where)];
  return hasMoreLayers(scored) ? [...found, layersTable(scored)] : found;
}

function layersTable(scored) {
  const rows = scored.layers.map((layer) => [
    `${layer.layer}`,
    layer.in_score ? "yes" : "no",
    `${layer.grid.rows} × ${layer.grid.cols}`,
    `${layer.neurons.length + layer.n_rest} of ${layer.n_neurons}`,
    layer.first.join(", "),
    fixed(greatestOf(layer)),
  ]);
  const head = ["layer", "in the score", "patches", "neurons selected", "most sensitive", "greatest value by itself"];
  return table("Layers, each by itself", head, rows);
}

function partsTable(scored, numbers, where) {
  const rows = scored.layers
    .map((layer, i) => [layer, numbers.layers[i].total])
    .filter(([layer]) => layer.in_score)
    .map(([layer, total]) => [`visual, layer ${layer.layer}`, fixed(total)]);
  if (numbers.text !== null) rows.push(["text", fixed(numbers.text)]);
  rows.push(["sum", fixed(numbers.value)], ["threshold", fixed(scored.threshold)]);
  return table(`What the value is made of: ${where}`, ["part", "value"], rows);
}

function neuronsTable(scored, numbers, order, where) {
  const rows = scored.layers.flatMap((layer, i) => {
    const at = numbers.layers[i];
    const name = layer.in_score ? `${layer.layer}` : `${layer.layer} (outside of the score)`;
    const listed = order[i].map((column) => [
      name,
      `${layer.neurons[column]}`,
      `${layer.ranks[column]}`,
      fixed(at.here[column]),
      fixed(at.here[column] - at.difference[column]),
      direction(at.difference[column]).words,
      fixed(at.contributions[column]),
    ]);
    if (layer.n_rest) listed.push([name, `the rest (${layer.n_rest})`, "", "", "", "", fixed(at.rest)]);
    return listed;
  });
  const head = ["layer", "neuron", "rank by sensitivity", "activation here", "in the nearest normal patch", "direction", "adds"];
  return table(`Selected neurons: ${where}`, head, rows);
}

function table(caption, head, rows) {
  const cells = (tag, texts) => texts.map((text, i) => make(i || tag === "th" ? tag : "th", tag === "th" ? { scope: "col" } : i ? {} : { scope: "row" }, text));
  return make(
    "table",
    {},
    make("caption", {}, caption),
    make("thead", {}, make("tr", {}, ...cells("th", head))),
    make("tbody", {}, ...rows.map((texts) => make("tr", {}, ...cells("td", texts)))),
  );
}
