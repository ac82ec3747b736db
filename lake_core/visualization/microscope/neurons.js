// Neurons by name: those that add most at the chosen patches, the card of one, and the pinned ones.

import { direction, fixed, make, percent, quantity, say } from "./dom.js";

const N_TOP = 5;

export const neuronName = (scored, { layer, column }) =>
  `${scored.layers[layer].layer} · ${scored.layers[layer].neurons[column]}`;

/** The neurons of the scored layers that add most, as rows that can be hovered, focused and opened. */
export class TopNeurons {
  constructor(scored, on) {
    this.scored = scored;
    this.total = scored.layers.reduce((sum, one) => sum + (one.in_score ? one.neurons.length + one.n_rest : 0), 0);
    this.cells = [];
    this.rows = Array.from({ length: Math.min(N_TOP, this.total) }, (_, i) => this.makeRow(i, on));
    this.summary = make("p", { class: "ms-summary" });
    const names = ["neuron", "here ↑↓ normal", "adds"];
    const head = make("div", { class: "ms-top-head", "aria-hidden": "true" }, ...names.map((name) => make("span", {}, name)));
    this.element = make("div", { class: "ms-top" }, head, ...this.rows.map((row) => row.element), this.summary);
  }

  makeRow(i, on) {
    const parts = Object.fromEntries(["name", "sides", "bar", "number"].map((name) => [name, make("span", { class: `ms-top-${name}` })]));
    const track = make("span", { class: "ms-top-track" }, parts.bar, parts.number);
    const element = make(
      "button",
      {
        type: "button",
        class: "ms-top-row",
        onpointerenter: () => on.hover(this.cells[i]),
        onpointerleave: () => on.hover(null),
        onfocus: () => on.hover(this.cells[i]),
        onblur: () => on.hover(null),
        onclick: () => on.open(this.cells[i]),
      },
      parts.name,
      parts.sides,
      track,
    );
    return { ...parts, element };
  }

  draw(numbers, active) {
    this.cells = greatest(this.scored, numbers, this.rows.length);
    const most = Math.max(...this.cells.map((cell) => numbers.layers[cell.layer].contributions[cell.column])) || 1;
    let sum = 0;
    for (const [i, cell] of this.cells.entries()) {
      const at = numbers.layers[cell.layer];
      const added = at.contributions[cell.column];
      const { mark, side, words } = direction(at.difference[cell.column]);
      const row = this.rows[i];
      const [here, normal] = [at.here[cell.column], at.here[cell.column] - at.difference[cell.column]];
      say(row.name, neuronName(this.scored, cell));
      say(row.sides, `${fixed(here)} ${mark} ${fixed(normal)}`);
      row.bar.className = `ms-top-bar ms-${side}`;
      row.bar.style.width = `${(72 * added) / most}%`;
      say(row.number, fixed(added));
      row.element.setAttribute("aria-label", `layer ${this.scored.layers[cell.layer].layer}, neuron ${this.scored.layers[cell.layer].neurons[cell.column]}: adds ${fixed(added)}, ${words}`);
      row.element.classList.toggle("ms-active", isSame(cell, active));
      sum += added;
    }
    const share = numbers.visual > 0 ? ` (${percent(sum / numbers.visual)} of it)` : "";
    this.summary.textContent = `${this.cells.length} of ${quantity(this.total, "neuron")}: together ${fixed(sum)} of the visual part ${fixed(numbers.visual)}${share}.`;
  }
}

/** The cells of the scored layers that add most, greatest first. */
export function greatest(scored, numbers, n) {
  const added = ({ layer, column }) => numbers.layers[layer].contributions[column];
  const found = [];
  for (const [layer, { in_score: inScore, neurons }] of scored.layers.entries()) {
    if (!inScore) continue;
    for (const column of neurons.keys()) {
      const cell = { layer, column };
      if (found.length === n && added(found[n - 1]) >= added(cell)) continue;
      const place = found.findIndex((one) => added(one) < added(cell));
      found.splice(place < 0 ? found.length : place, 0, cell);
      found.length = Math.min(found.length, n);
    }
  }
  return found;
}

export const isSame = (a, b) => Boolean(a && b) && a.layer === b.layer && a.column === b.column;

const CARD_MAP = 60;

/** One neuron: where it stands, what it does here and on the other image, what else is known of it. */
export class NeuronCard {
  constructor(scored, drawMaps) {
    this.scored = scored;
    this.drawMaps = drawMaps;
    this.title = make("h3", {});
    this.lead = make("p", { class: "ms-card-lead" });
    this.facts = Array.from({ length: 6 }, () => make("div", {}, make("dt", {}), make("dd", {})));
    this.canvases = [0, 1].map(() => make("canvas", { "aria-hidden": "true" }));
    const [here, there] = this.canvases;
    const own = make("div", {}, here, make("span", { class: "ms-small" }, "its map here"));
    this.there = make("div", { class: "ms-card-other", hidden: true }, there, ...otherImage(scored.other));
    const text = make("div", {}, this.title, this.lead, make("dl", {}, ...this.facts));
    this.element = make("div", { class: "ms-card" }, text, make("div", { class: "ms-card-maps" }, own, this.there));
  }

  draw(numbers, cell) {
    const layer = this.scored.layers[cell.layer];
    const at = numbers.layers[cell.layer];
    const [difference, added] = [at.difference[cell.column], at.contributions[cell.column]];
    const { mark, words, side } = direction(difference);
    const share = layer.in_score && numbers.value > 0 ? ` (${percent(added / numbers.value)} of the score)` : "";
    const note = layer.notes[layer.neurons[cell.column]];
    say(this.title, `Layer ${layer.layer} · neuron ${layer.neurons[cell.column]}`);
    say(this.lead, `${mark} ${words[0].toUpperCase()}${words.slice(1)}`);
    this.lead.className = `ms-card-lead ms-ink-${side}`;
    this.drawFacts([
      ["here", `${fixed(at.here[cell.column])}, nearest normal patch ${fixed(at.here[cell.column] - difference)}`],
      [layer.in_score ? "adds" : "would add", `${fixed(added)}${share}`],
      ["rank", `${layer.ranks[cell.column]} of ${layer.n_neurons} by sensitivity`],
      ["AUROC alone", note?.auroc == null ? "" : `${fixed(note.auroc, 2)} (chance 0.5)`],
      ["concept label", note?.label ?? ""],
      ["", side === "less" ? "Being less active counts, too." : ""],
    ]);
    this.there.hidden = !layer.other;
    if (!isSame(cell, this.drawn)) this.drawMaps(this.canvases, cell, CARD_MAP);
    this.drawn = cell;
  }

  drawFacts(facts) {
    for (const [i, [name, value]] of facts.entries()) {
      const line = this.facts[i];
      say(line.firstChild, name);
      say(line.lastChild, value);
      line.hidden = !value;
    }
  }
}

/** What is said below the other image's map: its name and its score. */
function otherImage(other) {
  if (!other) return [];
  const name = other.name.slice(other.name.lastIndexOf("/", other.name.lastIndexOf("/") - 1) + 1);
  return [make("span", { class: "ms-small", title: other.name }, `on ${name}, score ${fixed(other.score, 2)}`)];
}

/** Pinned neurons in a row, each with its map and what it adds at the chosen patches. */
export class Pins {
  constructor(scored, thumbnail, on) {
    this.scored = scored;
    this.thumbnail = thumbnail;
    this.on = on;
    this.cells = [];
    this.added = [];
    this.element = make("div", { class: "ms-pins", role: "list", "aria-label": "Pinned neurons", hidden: true });
  }

  /** Pins a neuron, or removes its pin. */
  toggle(cell) {
    const others = this.cells.filter((one) => !isSame(one, cell));
    this.cells = others.length < this.cells.length ? others : [...others, cell];
    this.added = this.cells.map(() => make("span", { class: "ms-number" }));
    this.element.replaceChildren(...this.cells.map((one, i) => this.chip(one, i)));
    this.element.hidden = !this.cells.length;
  }

  /** The pinned neurons by the numbers of layer and neuron, and one of them pinned where it is listed. */
  numbers() {
    return this.cells.map(({ layer, column }) => [this.scored.layers[layer].layer, this.scored.layers[layer].neurons[column]]);
  }

  add([number, neuron]) {
    const layer = this.scored.layers.findIndex((one) => one.layer === number);
    const column = this.scored.layers[layer]?.neurons.indexOf(neuron) ?? -1;
    if (column >= 0) this.toggle({ layer, column });
  }

  chip(cell, i) {
    const canvas = make("canvas", { "aria-hidden": "true" });
    const name = neuronName(this.scored, cell);
    const [hover, leave] = [() => this.on.hover(cell), () => this.on.hover(null)];
    const remove = make("button", { type: "button", class: "ms-icon", "aria-label": `Remove the pin of ${name}`, onclick: () => this.on.pin(cell) }, "×");
    const chip = make("div", { class: "ms-pin", role: "listitem", onpointerenter: hover, onpointerleave: leave }, canvas, make("span", {}, name), this.added[i], remove);
    this.thumbnail(canvas, cell, 40);
    return chip;
  }

  draw(numbers) {
    this.cells.forEach(({ layer, column }, i) => {
      const at = numbers.layers[layer];
      this.added[i].textContent = `${direction(at.difference[column]).mark} ${fixed(at.contributions[column])}`;
    });
  }
}
