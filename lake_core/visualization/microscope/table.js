// The numbers at the chosen patches as real tables, for screen readers and for copying.

import { direction, fixed, make } from "./dom.js";

/** Both tables of the chosen patches. */
export function tables(scored, numbers, order, where) {
  return [partsTable(scored, numbers, where), neuronsTable(scored, numbers, order, where)];
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
