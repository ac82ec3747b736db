// What the value of a patch is made of: bars from 0 over each layer's visual part and the text part to the sum.

import { fixed, make, percent, say } from "./dom.js";

/** Rows of bars on one axis, with the threshold as a line across them. */
export class Decomposition {
  constructor(scored) {
    this.scored = scored;
    this.parts = scored.layers.flatMap((layer, i) =>
      layer.in_score ? [{ name: `Visual, layer ${layer.layer}`, kind: "visual", of: (at) => at.layers[i].total }] : [],
    );
    if (scored.maps.text) this.parts.push({ name: "Text", kind: "text", of: (at) => at.text });
    this.rows = this.parts.map((part) => row(part.name, part.kind));
    this.sum = row("Sum", "sum");
    this.threshold = make("div", { class: "ms-threshold" }, make("span", {}, `threshold ${fixed(scored.threshold, 2)}`));
    const axis = make("div", { class: "ms-axis" }, make("div", { class: "ms-axis-track" }, this.threshold));
    const rows = [...this.rows, this.sum].map((one) => one.element);
    this.element = make("div", { class: "ms-decomposition" }, axis, ...rows);
    this.high = Math.max(scored.threshold * 1.15, scored.score * 1.05, highestValue(scored) * 1.02) || 1;
    this.threshold.style.left = this.at(scored.threshold);
  }

  at(value) {
    return `${(100 * Math.max(0, value)) / this.high}%`;
  }

  draw(numbers, sumName) {
    let start = 0;
    for (const [i, part] of this.parts.entries()) {
      const value = part.of(numbers);
      const share = numbers.value > 0 ? percent(value / numbers.value) : "";
      this.drawRow(this.rows[i], start, value, `${i ? "+ " : ""}${fixed(value)}`, share);
      start += value;
    }
    say(this.sum.name, sumName);
    const isAbove = numbers.value > this.scored.threshold;
    this.drawRow(this.sum, 0, numbers.value, `= ${fixed(numbers.value)}`, isAbove ? "▲ above" : "▽ not above");
  }

  drawRow(one, start, value, number, note) {
    one.bar.style.left = this.at(start);
    one.bar.style.width = this.at(value);
    say(one.number, number);
    say(one.note, note);
  }
}

function row(name, kind) {
  const parts = {
    name: make("span", { class: "ms-name" }, name),
    bar: make("div", { class: `ms-bar ms-${kind}` }),
    number: make("span", { class: "ms-number" }),
    note: make("span", { class: "ms-note" }),
  };
  const track = make("div", { class: "ms-track" }, parts.bar);
  return { ...parts, element: make("div", { class: "ms-part" }, parts.name, track, parts.number, parts.note) };
}

/** The greatest value on the image. */
function highestValue(scored) {
  return scored.maps.score.reduce((most, value, patch) => (scored.inside[patch] ? Math.max(most, value) : most), 0);
}
