// All layers of the network from first to last, each with its own map on the image, by its own selection.

import { scoreScale } from "./colours.js";
import { titled } from "./controls.js";
import { fixed, make, quantity, say } from "./dom.js";
import { miniature } from "./image_view.js";

const MOST_IN_A_ROW = 12;
const LARGEST = 60;
const GAP = 3;
const LONGEST =
  "Layer 88, outside of the score: 88 × 88 patches, greatest value 888.88. 888 of 8888 neurons selected, first 8888, 8888, " +
  "8888, 8888, 8888. 0000000000";

/** Whether there is a layer to see besides those of the score. */
export const hasMoreLayers = (scored) => scored.pending.length > 0 || scored.layers.some((layer) => !layer.in_score);

/** All layers by number: [number, its index among those that are there, or -1 while it is computed]. */
export function allLayers(scored) {
  const known = scored.layers.map((layer, i) => [layer.layer, i]);
  const waiting = scored.pending.filter((number) => !scored.layers.some((layer) => layer.layer === number));
  return [...known, ...waiting.map((number) => [number, -1])].sort((a, b) => a[0] - b[0]);
}

/** The scored image with a layer's own patches in place of those of the fused grid. */
export function onOwnGrid(scored, layer) {
  return { ...scored, grid: layer.grid, inside: layer.map.map((value) => !Number.isNaN(value)) };
}

export const greatestOf = (layer) => layer.map.reduce((most, value) => (value > most ? value : most), 0);

/** A layer in words: whether it counts, its patches, what was selected there, how high its map goes. */
export function layerText({ layer, in_score: inScore, grid, neurons, n_rest: nRest, n_neurons: nNeurons, first, map }) {
  const selected = `${neurons.length + nRest} of ${nNeurons} neurons selected, first ${first.join(", ")}`;
  const place = `Layer ${layer}, ${inScore ? "in" : "outside of"} the score: ${grid.rows} × ${grid.cols} patches, `;
  return `${place}greatest value ${fixed(greatestOf({ map }), 2)}. ${selected}.`;
}

/** The strip; `on.hover(i)` and `on.fix(i)` are told of a layer's index, null where there is none. */
export class LayerStrip {
  constructor(scored, bitmap, on) {
    this.scored = scored;
    this.bitmap = bitmap;
    this.on = on;
    this.active = null;
    this.frames = allLayers(scored).map(([number, i]) => this.frame(number, i));
    this.known = this.frames.filter((frame) => frame.i >= 0);
    this.perRow = Math.ceil(this.frames.length / Math.ceil(this.frames.length / MOST_IN_A_ROW));
    this.row = make(
      "div",
      { class: "ms-layers", role: "listbox", tabindex: "0", "aria-label": "Layers, first to last" },
      ...this.frames.map((frame) => frame.element),
    );
    this.line = make("span", {});
    const room = make("span", { class: "ms-room", "aria-hidden": "true" }, LONGEST);
    const line = make("p", { class: "ms-hint ms-layer-line" }, this.line, room);
    this.element = titled("Layer by layer", "each by itself, first to last", null, this.row, line);
    this.listen();
  }

  plainText() {
    const { pending, value_of_one: one } = this.scored;
    if (pending.length) return `The maps of ${quantity(pending.length, "layer")} are not there yet.`;
    return `Each layer’s own map, by the neurons selected there; 1 is the ${one} of its normal patches. ● in the score. Point at one to see it large.`;
  }

  frame(number, i) {
    const layer = this.scored.layers[i];
    const canvas = make("canvas", { "aria-hidden": "true" });
    const name = make("span", { class: layer?.in_score ? "ms-layer-name ms-counts" : "ms-layer-name" }, `${layer?.in_score ? "● " : ""}${number}`);
    const label = layer ? layerText(layer) : `Layer ${number}, not there yet`;
    return { i, canvas, element: make("div", { class: "ms-layer", role: "option", "aria-selected": "false", "aria-label": label }, canvas, name) };
  }

  fit() {
    const side = Math.min(LARGEST, Math.floor((this.row.clientWidth - GAP * (this.perRow - 1)) / this.perRow));
    this.row.style.gridTemplateColumns = `repeat(${this.perRow}, ${side}px)`;
    const scale = scoreScale(this.scored);
    const { width, height } = this.scored.image;
    const zoom = side / Math.max(width, height);
    for (const { i, canvas } of this.frames) {
      const layer = this.scored.layers[i];
      if (layer) miniature(canvas, onOwnGrid(this.scored, layer), this.bitmap, layer.map, scale, side);
      canvas.style.width = `${width * zoom}px`;
      canvas.style.height = `${height * zoom}px`;
    }
  }

  /** Marks the layer that is shown, and says what it is. */
  draw(shown, fixedOne) {
    this.active = shown;
    for (const { i, element } of this.known) {
      element.setAttribute("aria-selected", `${i === shown}`);
      element.classList.toggle("ms-fixed", i === fixedOne);
    }
    say(this.line, shown === null ? this.plainText() : layerText(this.scored.layers[shown]));
  }

  listen() {
    for (const { i, element } of this.known) {
      element.addEventListener("pointerenter", () => this.on.hover(i));
      element.addEventListener("click", () => this.on.fix(i));
    }
    this.row.addEventListener("pointerleave", () => this.on.hover(null));
    this.row.addEventListener("blur", () => this.on.hover(null));
    this.row.addEventListener("keydown", (event) => {
      const steps = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -this.perRow, ArrowDown: this.perRow };
      if (event.key in steps) this.on.hover(this.stepped(steps[event.key]));
      else if (event.key === "Enter" || event.key === " ") this.on.fix(this.active);
      else return;
      event.preventDefault();
    });
  }

  stepped(steps) {
    const at = this.known.findIndex((frame) => frame.i === this.active);
    if (at < 0) return this.known[0].i;
    return this.known[Math.min(this.known.length - 1, Math.max(0, at + steps))].i;
  }
}
