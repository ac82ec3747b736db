// Where the views of the microscope stand, and the words between them.

import { swatch, titled } from "./controls.js";
import { fixed, make, quantity } from "./dom.js";
import { hasMoreLayers } from "./layers.js";
import { LONGEST_STORY } from "./story.js";

const HINT =
  "Point at a patch, or use the arrow keys, to read it. Click or Enter fixes it, Escape lets go; drag (or Shift and " +
  "arrow keys) for the mean of a region.";

/** The image's name, its decision and its story. */
export function header({ scored, tableButton, story: live }) {
  const { image, score, threshold, is_anomalous: isAnomalous } = scored;
  const verdict = `score ${fixed(score, 2)} ${isAnomalous ? "▲ above" : "▽ not above"} the threshold ${fixed(threshold, 2)}`;
  const pill = make("span", { class: `ms-verdict ${isAnomalous ? "ms-high" : ""}` }, verdict);
  const title = make("div", { class: "ms-title" }, make("h1", { title: image.name }, image.name), pill, tableButton);
  return make("header", {}, title, make("p", { class: "ms-story" }, live, storyRoom()));
}

/** The room of the longest story, unseen: what stands below moves neither under the pointer nor from image to image. */
const storyRoom = () => make("span", { class: "ms-room", "aria-hidden": "true" }, make("strong", {}, LONGEST_STORY));

/** The image with its map, and below it all layers where there are many. */
export function leftColumn({ scored, toolbar, image, colourBar, layers, neighbours, isTall }) {
  const units = `On the visual and the text map 1 is the ${scored.value_of_one} of normal patches; the score mixes both. Activations are ${scored.activation}.`;
  const notes = [HINT, units].map((text) => make("p", { class: "ms-hint" }, text));
  const views = [toolbar.element, image.element, colourBar.element, layers?.element];
  return make("div", { class: "ms-left" }, ...views, ...notes, isTall ? crops(neighbours) : null);
}

/** What the score is made of, part by part, neuron by neuron, layer by layer. */
export function rightColumn({ scored, where, decomposition, top, card, order, matrix, pins, neighbours, isTall }) {
  const total = scored.layers.reduce((sum, layer) => sum + layer.neurons.length + layer.n_rest, 0);
  const rows = [matrix.element, legend(scored), pins.element];
  const neurons = make("div", { class: "ms-neurons" }, top.element, card.element);
  return make(
    "div",
    { class: "ms-right" },
    titled("What the score is made of", where, null, decomposition.element),
    titled("Neurons that add most here", "layer · neuron", null, neurons),
    titled("Which neurons differ from normal", quantity(total, "selected neuron"), order.element, ...rows),
    isTall ? null : crops(neighbours),
  );
}

function legend(scored) {
  const sides = ["up: more active than in the nearest normal patch, ", swatch("less"), "down: less active; the stronger, the more it adds (square root). "];
  const element = make("p", { class: "ms-legend" }, swatch("more"), ...sides, "● layer in the score");
  const hasMore = hasMoreLayers(scored);
  if (hasMore) element.append(", ○ outside: what it would add");
  if (hasMore || scored.layers.some((layer) => layer.n_rest)) element.append("; outlined: all other selected neurons");
  return element;
}

function crops(neighbours) {
  const note = "the normal images’ patch whose selected neurons are most like these";
  return titled("Beside the nearest normal patch", note, null, neighbours.element);
}
