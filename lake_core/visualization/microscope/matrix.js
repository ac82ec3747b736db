// The layer-by-neuron matrix: a row for each layer, a cell for each listed neuron, wrapped where there is no room.
// Where rows are too thin for bars of several heights, the strength of the colour takes their place.

import { direction, fixed, inks, make, sharp } from "./dom.js";
import { allLayers } from "./layers.js";

const LABEL = 80;
const MIN_CELL = 5;
const MAX_CELL = 24;
const ROOM = 132;
const THIN = 20;
const LOWEST = 11;
const LOWEST_IN_SCORE = 20;

/** Cells with bars: up where a neuron is more active than normal, down where it is less. */
export class Matrix {
  constructor(scored, limit, on) {
    this.scored = scored;
    this.limit = Math.sqrt(limit);
    this.on = on;
    this.canvas = make("canvas", {});
    this.element = make(
      "div",
      { class: "ms-matrix", tabindex: "0", role: "application", "aria-roledescription": "matrix of layers and neurons" },
      this.canvas,
    );
    this.listen();
  }

  /** Places the rows for the present width. */
  fit() {
    this.inks = inks(this.element);
    this.width = this.element.clientWidth;
    const room = this.width - LABEL;
    const { layers } = this.scored;
    const nCells = layers.map((layer) => layer.neurons.length + (layer.n_rest ? 2 : 0));
    const longest = Math.max(...nCells);
    const perLine = Math.ceil(longest / Math.ceil(longest / Math.max(1, Math.floor(room / MIN_CELL))));
    this.cell = Math.min(room / perLine, MAX_CELL);
    this.perLine = perLine;
    const all = allLayers(this.scored);
    const nLines = all.map(([, i]) => (i < 0 ? 1 : Math.ceil(nCells[i] / perLine)));
    const total = nLines.reduce((sum, n) => sum + n, 0);
    const gap = all.length > 8 ? 1 : 5;
    const line = Math.min(60, Math.max(total > all.length && all.length <= 8 ? 28 : LOWEST, ROOM / total - gap));
    let top = 1;
    this.rows = [];
    this.waiting = [];
    for (const [place, [number, i]] of all.entries()) {
      const own = layers[i]?.in_score ? Math.max(line, LOWEST_IN_SCORE) : line;
      const row = { number, top, line: own, height: nLines[place] * own };
      if (i < 0) this.waiting.push(row);
      else this.rows[i] = row;
      top += row.height + gap;
    }
    this.height = top - gap;
  }

  /** Draws the contributions at the chosen patches; `order[i]` are the columns of layer i as they stand, `marked` is a layer. */
  draw(numbers, order, active, marked) {
    this.order = order;
    const context = sharp(this.canvas, this.width, this.height);
    this.scored.layers.forEach((layer, i) => {
      this.drawLabel(context, layer, this.rows[i], i === marked);
      order[i].forEach((column, place) => this.drawCell(context, i, place, numbers.layers[i], column));
      if (layer.n_rest) this.drawRest(context, i, numbers.layers[i].rest);
    });
    for (const row of this.waiting) this.drawLabel(context, { layer: row.number, in_score: false }, row, false);
    if (active) this.drawFocus(context, active);
  }

  drawLabel(context, layer, { top, line }, isMarked) {
    const size = Math.min(13, line);
    context.textBaseline = "middle";
    context.fillStyle = isMarked ? this.inks.focus : layer.in_score ? this.inks.text : this.inks.muted;
    context.font = `${layer.in_score || isMarked ? 600 : 400} ${size}px ${this.inks.font}`;
    context.fillText(`${isMarked ? "▸ " : layer.in_score ? "● " : "○ "}layer ${layer.layer}`, 0, top + line / 2);
  }

  drawCell(context, i, place, at, column) {
    const [x, y] = this.corner(i, place);
    const { line } = this.rows[i];
    const middle = y + line / 2;
    const share = Math.min(1, Math.sqrt(at.contributions[column]) / this.limit);
    const bar = (line < THIN ? 1 : share) * (line / 2 - 1);
    const width = Math.max(1, this.cell - 1.5);
    const { side } = direction(at.difference[column]);
    context.fillStyle = this.inks.line;
    context.fillRect(x, middle - 0.5, width, 1);
    context.fillStyle = this.inks[side];
    context.globalAlpha = line < THIN ? share : 1;
    context.fillRect(x, side === "more" ? middle - bar : middle, width, bar);
    context.globalAlpha = 1;
  }

  /** What the neurons that are not listed add together: an outlined bar without a direction. */
  drawRest(context, i, rest) {
    const [x, y] = this.corner(i, this.order[i].length + 1);
    const { line } = this.rows[i];
    const bar = Math.min(1, Math.sqrt(rest) / this.limit) * (line - 2);
    context.strokeStyle = this.inks.muted;
    context.lineWidth = 1;
    context.strokeRect(x + 0.5, y + line - 1 - bar, Math.max(2, this.cell - 2.5), bar);
  }

  drawFocus(context, { layer, column }) {
    const place = this.order[layer].indexOf(column);
    if (place < 0) return;
    const [x, y] = this.corner(layer, place);
    context.strokeStyle = this.inks.focus;
    context.lineWidth = 2;
    context.strokeRect(x - 1.5, y + 0.5, this.cell + 1.5, this.rows[layer].line - 1);
  }

  corner(i, place) {
    const { top, line } = this.rows[i];
    return [LABEL + (place % this.perLine) * this.cell, top + Math.floor(place / this.perLine) * line];
  }

  /** The neuron under a point, or null. */
  cellAt(event) {
    const area = this.canvas.getBoundingClientRect();
    const [x, y] = [event.clientX - area.left, event.clientY - area.top];
    const i = this.rows.findIndex((row) => y >= row.top && y < row.top + row.height);
    const inLine = Math.floor((x - LABEL) / this.cell);
    if (i < 0 || inLine < 0 || inLine >= this.perLine) return null;
    const place = Math.floor((y - this.rows[i].top) / this.rows[i].line) * this.perLine + inLine;
    return place < this.order[i].length ? { layer: i, column: this.order[i][place] } : null;
  }

  listen() {
    this.element.addEventListener("pointermove", (event) => this.on.hover(this.cellAt(event)));
    this.element.addEventListener("pointerleave", () => this.on.hover(null));
    this.element.addEventListener("click", (event) => {
      const cell = this.cellAt(event);
      if (cell) this.on.open(cell);
    });
    this.element.addEventListener("keydown", (event) => {
      const moves = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };
      if (event.key in moves) this.on.hover(this.stepped(...moves[event.key]));
      else if (event.key === "Home") this.on.hover(this.stepped(0, -Infinity));
      else if (event.key === "End") this.on.hover(this.stepped(0, Infinity));
      else if (event.key === "Enter") this.on.open(null);
      else return;
      event.preventDefault();
    });
  }

  /** The neuron so many layers and places away from the active one; the first one where none is. */
  stepped(layers, places) {
    const active = this.on.active();
    if (!active) return { layer: 0, column: this.order[0][0] };
    const layer = Math.min(this.order.length - 1, Math.max(0, active.layer + layers));
    const columns = this.order[layer];
    const place = Math.max(0, this.order[active.layer].indexOf(active.column)) + places;
    return { layer, column: columns[Math.min(columns.length - 1, Math.max(0, place))] };
  }
}

/** The columns of each layer as they stand: as selected, most sensitive first, or greatest contribution here first. */
export function columnOrder(scored, numbers, byContribution) {
  return scored.layers.map((layer, i) => {
    const columns = Array.from(layer.neurons.keys());
    const { contributions } = numbers.layers[i];
    return byContribution ? columns.sort((a, b) => contributions[b] - contributions[a] || a - b) : columns;
  });
}

/** The most that one neuron of a layer in the score adds at any patch on the image. */
export function mostAdded(scored) {
  let most = 0;
  for (const layer of scored.layers.filter((one) => one.in_score)) {
    const k = layer.neurons.length;
    const rows = new Set(Array.from(layer.under).filter((_, patch) => scored.inside[patch]));
    let square = 0;
    for (const row of rows) {
      for (let at = row * k; at < (row + 1) * k; at += 1) square = Math.max(square, layer.difference[at] ** 2);
    }
    most = Math.max(most, (square / layer.tau) * layer.weight);
  }
  return most || 1;
}

/** A cell in words. */
export function cellText(scored, numbers, { layer, column }) {
  const at = numbers.layers[layer];
  const name = `layer ${scored.layers[layer].layer}, neuron ${scored.layers[layer].neurons[column]}`;
  return `${name}: adds ${fixed(at.contributions[column])}, ${direction(at.difference[column]).words}`;
}
