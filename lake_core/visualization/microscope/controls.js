// What stands around the views: the choice of a map, the colour bar, sections with titles.

import { gradient } from "./colours.js";
import { fixed, make, say } from "./dom.js";

const MAPS = { none: "Image", score: "Score", visual: "Visual", text: "Text", neuron: "Neuron" };
const MAP_TITLES = {
  none: "Score of each patch; every image has the same scale here",
  score: "Score of each patch; every image has the same scale here",
  visual: "Visual map, unweighted; every image has the same scale here",
  text: "Text map, unweighted; every image has the same scale here",
};

/** The choice of a map and how it is drawn; `set` is told the changes. */
export class Toolbar {
  constructor(scored, { opacity, hasContour }, set) {
    const maps = Object.keys(MAPS).filter((map) => map !== "text" || scored.maps.text);
    this.maps = choices("Map", maps.map((map) => [MAPS[map], map]), (map) => set({ map }));
    const kinds = ["activation", "contribution"];
    this.kinds = choices("What of the neuron", kinds.map((kind) => [kind, kind]), (neuronMap) => set({ neuronMap }));
    const slider = make("input", { type: "range", min: "0", max: "1", step: "0.05", value: `${opacity}` });
    slider.addEventListener("input", () => set({ opacity: Number(slider.value) }));
    const contour = make("input", { type: "checkbox", checked: hasContour });
    contour.addEventListener("change", () => set({ hasContour: contour.checked }));
    this.element = make(
      "div",
      { class: "ms-toolbar" },
      this.maps.element,
      make("label", { class: "ms-slider" }, "opacity", slider),
      make("span", { class: "ms-kinds" }, "a neuron shows", this.kinds.element),
      make("label", {}, contour, "outline above threshold"),
    );
  }

  draw(map, kind) {
    this.maps.mark(map);
    this.kinds.mark(kind);
  }
}

/** The colours of the map that is shown, with numbers. */
export class ColourBar {
  constructor() {
    const parts = ["title", "strip", "low", "mark", "high"].map((name) => [name, make("div", { class: `ms-bar-${name}` })]);
    Object.assign(this, Object.fromEntries(parts));
    const ticks = make("div", { class: "ms-ticks" }, this.low, this.mark, this.high);
    this.element = make("div", { class: "ms-colour-bar" }, this.title, this.strip, ticks);
  }

  /** For the score, visual and text map. */
  drawScores(scale, map, threshold) {
    const share = Math.min(1, threshold / scale.high);
    this.draw(scale, MAP_TITLES[map], "0", `${fixed(scale.high, 2)} and more`, `threshold ${fixed(threshold, 2)}`, share);
  }

  /** For one layer's own map, on the scale of the scores. */
  drawLayer(scale, number, one) {
    const title = `Layer ${number} by itself; 1 is the ${one} of its normal patches`;
    this.draw(scale, title, "0", `${fixed(scale.high, 2)} and more`, "1", Math.min(1, 1 / scale.high));
  }

  /** For a neuron's activation, or what it adds on either side of 0. */
  drawNeuron(scale, name, kind) {
    const digits = scale.high < 10 ? 3 : 1;
    const isSigned = scale.table === "signed";
    const isContribution = kind === "contribution";
    const title = `${name}: ${isContribution ? "what it adds, ↓ less active or ↑ more active than normal" : "activation"}`;
    const low = isContribution ? `↓ ${fixed(-scale.low, digits)}` : fixed(scale.low, scale.low ? digits : 0);
    const high = `${isContribution ? "↑ " : ""}${fixed(scale.high, digits)}`;
    this.draw(scale, title, low, high, isSigned ? "0" : "", 0.5);
  }

  draw(scale, title, low, high, mark, share) {
    say(this.title, title);
    say(this.low, low);
    say(this.high, high);
    say(this.mark, mark);
    this.mark.hidden = !mark;
    this.mark.style.left = `${100 * share}%`;
    this.strip.style.background = gradient(scale);
  }
}

/** Buttons of which one is pressed: [[name, value], ...]; `mark(value)` presses one. */
export function choices(label, names, choose) {
  const buttons = names.map(([name, value]) => {
    const button = make("button", { type: "button", onclick: () => choose(value) }, name);
    button.dataset.value = `${value}`;
    return button;
  });
  const mark = (value) => {
    for (const button of buttons) button.setAttribute("aria-pressed", `${button.dataset.value === `${value}`}`);
  };
  return { element: make("div", { class: "ms-choices", role: "group", "aria-label": label }, ...buttons), mark };
}

/** A part of the page with a title, a note beside it (a text or an element) and controls on the right. */
export function titled(title, note, controls, ...children) {
  const head = make("div", { class: "ms-head" }, make("h2", {}, title), make("span", { class: "ms-small" }, note), controls);
  return make("section", {}, head, ...children);
}

export const swatch = (side) => make("span", { class: `ms-key ms-${side}`, "aria-hidden": "true" });
