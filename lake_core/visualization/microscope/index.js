// The microscope: one scored image, its neurons and what its score is made of, linked and drawn on the client.
//
// Hosts call the default export as Streamlit's components (v2) do; an HTML file calls it without the two setters.

import { activationScale, gradient, scoreScale, signedScale } from "./colours.js";
import { Decomposition } from "./decomposition.js";
import { fixed, make } from "./dom.js";
import { ImageView, miniature } from "./image_view.js";
import { Matrix, cellText, columnOrder, mostAdded } from "./matrix.js";
import { Neighbours } from "./neighbours.js";
import { NeuronCard, Pins, TopNeurons, greatest, isSame } from "./neurons.js";
import { decode, neuronMap, numbersAt } from "./payload.js";
import { story, whereText } from "./story.js";
import { tables } from "./table.js";

/** With more layers the matrix takes the crops' place, and they that of a part of the image. */
const MANY_LAYERS = 8;
const HEIGHT = 530;
const LOW_HEIGHT = 420;

const instances = new WeakMap();

/**
 * Shows a payload in an element; called again with the same payload it keeps what was chosen.
 *
 * data: the blob, a Uint8Array. setStateValue("patch", index) tells the fixed patch, null when released;
 * setTriggerValue("open_neuron", {layer, neuron}) that a neuron's page is asked for.
 */
export default function microscope({ data, parentElement, setStateValue, setTriggerValue }) {
  const before = instances.get(parentElement);
  if (before && isEqual(before.data, data)) {
    Object.assign(before.host, { setStateValue, setTriggerValue });
    return before.close;
  }
  before?.close();
  const host = { setStateValue, setTriggerValue };
  const root = make("div", { class: "microscope" });
  parentElement.append(root);
  let view = null;
  let isClosed = false;
  const close = () => {
    isClosed = true;
    view?.close();
    root.remove();
    instances.delete(parentElement);
  };
  instances.set(parentElement, { data, host, close });
  load(data).then((loaded) => {
    if (!isClosed) view = new Microscope(root, loaded, host);
  });
  return close;
}

function isEqual(a, b) {
  return a.length === b.length && a.every((byte, i) => byte === b[i]);
}

async function load(data) {
  const scored = decode(data);
  const bitmapOf = (jpeg) => jpeg && createImageBitmap(new Blob([jpeg], { type: "image/jpeg" }));
  const [bitmap, ...normals] = await Promise.all([scored.image, ...scored.normals].map((one) => bitmapOf(one.jpeg)));
  return { scored, bitmap, normals };
}

/** The linked views of one image, and what is chosen in them. */
class Microscope {
  constructor(root, { scored, bitmap, normals }, host) {
    this.root = root;
    this.scored = scored;
    this.bitmap = bitmap;
    this.host = host;
    this.contributionLimit = mostAdded(scored);
    this.chosen = { patches: scored.patches, isFixed: false, isScore: true };
    this.map = "score";
    this.neuron = null;
    this.neuronMap = "activation";
    this.opacity = 0.75;
    this.hasContour = true;
    this.byContribution = true;
    this.isTall = scored.layers.length > MANY_LAYERS;
    this.makeViews(normals);
    this.lay();
    this.closers = this.listen();
    this.fit();
  }

  makeViews(normals) {
    const { scored } = this;
    const thumbnail = (canvas, cell, side) => this.drawThumbnail(canvas, cell, side);
    const onNeuron = {
      hover: (cell) => this.chooseNeuron(cell),
      choose: (cell) => this.chooseNeuron(cell),
      open: (cell) => this.open(cell ?? this.neuron),
      pin: (cell) => this.pin(cell),
      active: () => this.neuron,
    };
    this.image = new ImageView(scored, this.bitmap, this.isTall ? LOW_HEIGHT : HEIGHT, {
      hover: (patch) => this.chosen.isFixed || this.choose([patch]),
      leave: () => this.chosen.isFixed || this.chooseScore(),
      fix: (patch) => this.fix(patch),
      region: (patches) => this.choose(patches, true),
      step: (rows, cols, extend) => this.step(rows, cols, extend),
    });
    this.decomposition = new Decomposition(scored);
    this.matrix = new Matrix(scored, onNeuron);
    this.top = new TopNeurons(scored, onNeuron);
    this.card = new NeuronCard(scored, thumbnail);
    this.pins = new Pins(scored, thumbnail, onNeuron);
    this.neighbours = new Neighbours(scored, this.bitmap, normals);
  }

  lay() {
    this.where = make("span", { class: "ms-where" });
    this.story = make("p", { class: "ms-story" });
    this.said = make("div", { class: "ms-said", "aria-live": "polite" });
    this.numbersTable = make("div", { class: "ms-tables", hidden: true });
    this.root.append(
      this.header(),
      make("div", { class: "ms-columns" }, this.leftColumn(), this.rightColumn()),
      this.numbersTable,
      this.said,
    );
  }

  header() {
    const { scored } = this;
    const verdict = scored.is_anomalous ? "▲ above the threshold" : "▼ not above the threshold";
    const pill = make("span", { class: `ms-verdict ${scored.is_anomalous ? "ms-high" : ""}` }, `score ${fixed(scored.score, 2)} ${verdict} ${fixed(scored.threshold, 2)}`);
    this.tableButton = make("button", { type: "button", "aria-expanded": "false", onclick: () => this.toggleTable() }, "Numbers as a table");
    const line = make("div", { class: "ms-title" }, make("h1", { title: scored.image.name }, scored.image.name), pill, this.tableButton);
    return make("header", {}, line, this.story);
  }

  leftColumn() {
    this.bar = {
      title: make("span", { class: "ms-bar-title" }),
      strip: make("div", { class: "ms-strip" }),
      low: make("span", {}),
      mark: make("span", { class: "ms-strip-mark" }),
      high: make("span", {}),
    };
    const ticks = make("div", { class: "ms-ticks" }, this.bar.low, this.bar.mark, this.bar.high);
    const bar = make("div", { class: "ms-colour-bar" }, this.bar.title, this.bar.strip, ticks);
    const hint = "Point at a patch, or use the arrow keys, to read it. Click or Enter fixes it, Escape lets go; drag (or Shift and arrow keys) for the mean of a region.";
    const units = `A value of 1 is the ${this.scored.value_of_one} of normal patches. Activations are ${this.scored.activation}.`;
    const notes = [hint, units].map((text) => make("p", { class: "ms-hint" }, text));
    return make("div", { class: "ms-left" }, this.toolbar(), this.image.element, bar, ...notes, this.isTall ? this.crops() : null);
  }

  crops() {
    const note = "the normal images’ patch whose selected neurons are most like these";
    return section("Beside the nearest normal patch", note, this.neighbours.element);
  }

  toolbar() {
    const names = { none: "Image", score: "Score", visual: "Visual", text: "Text", neuron: "Neuron" };
    const maps = Object.keys(names).filter((map) => map !== "text" || this.scored.maps.text);
    this.mapButtons = maps.map((map) => choice(names[map], () => this.chooseMap(map), { map }));
    this.whatButtons = ["activation", "contribution"].map((what) => choice(what, () => this.chooseWhat(what), { what }));
    this.whatGroup = make("div", { class: "ms-choices", role: "group", "aria-label": "What of the neuron" }, ...this.whatButtons);
    const opacity = make("input", { type: "range", min: "0", max: "1", step: "0.05", value: `${this.opacity}`, "aria-label": "Opacity of the map" });
    opacity.addEventListener("input", () => this.set({ opacity: Number(opacity.value) }));
    const contour = make("input", { type: "checkbox", checked: true });
    contour.addEventListener("change", () => this.set({ hasContour: contour.checked }));
    return make(
      "div",
      { class: "ms-toolbar" },
      make("div", { class: "ms-choices", role: "group", "aria-label": "Map" }, ...this.mapButtons),
      this.whatGroup,
      make("label", { class: "ms-slider" }, "opacity", opacity),
      make("label", {}, contour, "outline above threshold"),
    );
  }

  rightColumn() {
    this.orderButtons = [true, false].map((by) => choice(by ? "by contribution here" : "by sensitivity", () => this.setOrder(by), { by: `${by}` }));
    const order = make("div", { class: "ms-choices", role: "group", "aria-label": "Order of the neurons" }, ...this.orderButtons);
    const legend = make("p", { class: "ms-legend" }, key("more"), "up: more active than normal, ", key("less"), "down: less active; the stronger, the more it adds (square root). ● layer in the score");
    if (this.scored.layers.some((layer) => !layer.in_score)) legend.append(", ○ outside: what it would add");
    if (this.scored.layers.some((layer) => layer.n_rest)) legend.append("; outlined: all other selected neurons");
    const neurons = make("div", { class: "ms-neurons" }, this.top.element, this.card.element);
    const total = this.scored.layers.reduce((sum, layer) => sum + layer.neurons.length + layer.n_rest, 0);
    return make(
      "div",
      { class: "ms-right" },
      section("What the score is made of", this.where, this.decomposition.element),
      section("Which neurons differ from normal", `${total} selected neurons, layer by layer`, order, this.matrix.element, legend, this.pins.element),
      section("Neurons that add most here", "layer · neuron", neurons),
      this.isTall ? null : this.crops(),
    );
  }

  listen() {
    const onKey = (event) => {
      if (event.key === "Escape") this.release();
      else if ((event.key === "p" || event.key === "P") && this.neuron && !event.ctrlKey && !event.metaKey) this.pin(this.neuron);
    };
    const onScheme = () => this.fit();
    const scheme = window.matchMedia("(prefers-color-scheme: dark)");
    const resized = new ResizeObserver(() => this.root.clientWidth !== this.fittedWidth && this.fit());
    this.root.ownerDocument.addEventListener("keydown", onKey);
    scheme.addEventListener("change", onScheme);
    resized.observe(this.root);
    return [
      () => this.root.ownerDocument.removeEventListener("keydown", onKey),
      () => scheme.removeEventListener("change", onScheme),
      () => resized.disconnect(),
    ];
  }

  close() {
    this.closers.forEach((close) => close());
  }

  // What is chosen --------------------------------------------------------------------------------------------------

  choose(patches, isFixed = false) {
    this.chosen = { patches, isFixed, isScore: false };
    this.drawNumbers();
  }

  chooseScore() {
    this.chosen = { patches: this.scored.patches, isFixed: false, isScore: true };
    this.drawNumbers();
  }

  /** Fixes a patch (null: what is chosen), or lets go of the one that is fixed. */
  fix(patch) {
    const { patches, isFixed } = this.chosen;
    const isRepeated = isFixed && (patch === null || (patches.length === 1 && patches[0] === patch));
    if (isRepeated) this.release();
    else {
      this.chosen = { patches: patch === null ? patches : [patch], isFixed: true, isScore: false };
      this.drawNumbers();
      this.host.setStateValue?.("patch", this.chosen.patches[0]);
    }
  }

  release() {
    this.neuron = null;
    this.chooseScore();
    this.drawMap();
    this.host.setStateValue?.("patch", null);
  }

  /** Moves the chosen patch, or with `extend` the far corner of the region. */
  step(rows, cols, extend) {
    const { grid, inside } = this.scored;
    const { patches } = this.chosen;
    const from = patches[patches.length - 1];
    const row = Math.min(grid.rows - 1, Math.max(0, Math.floor(from / grid.cols) + rows));
    const col = Math.min(grid.cols - 1, Math.max(0, (from % grid.cols) + cols));
    const patch = row * grid.cols + col;
    if (!inside[patch]) return;
    if (extend) this.choose(this.image.between(patches[0], patch), true);
    else this.choose([patch], this.chosen.isFixed);
    this.said.textContent = `${this.whereNow()}: ${fixed(this.numbers.value, 2)}`;
  }

  chooseNeuron(cell) {
    if (isSame(cell, this.neuron) || (!cell && !this.neuron)) return;
    this.neuron = cell;
    this.drawNeuron();
    this.drawMap();
    if (cell) this.said.textContent = cellText(this.scored, this.numbers, cell);
  }

  open(cell) {
    if (!cell) return;
    this.chooseNeuron(cell);
    const { layer, neurons } = this.scored.layers[cell.layer];
    this.host.setTriggerValue?.("open_neuron", { layer, neuron: neurons[cell.column] });
  }

  pin(cell) {
    this.pins.toggle(cell);
    this.pins.draw(this.numbers);
  }

  chooseMap(map) {
    this.set({ map });
  }

  chooseWhat(what) {
    this.set({ neuronMap: what });
  }

  set(changes) {
    Object.assign(this, changes);
    this.drawMap();
  }

  setOrder(byContribution) {
    this.byContribution = byContribution;
    this.drawNumbers();
  }

  toggleTable() {
    this.numbersTable.hidden = !this.numbersTable.hidden;
    this.tableButton.setAttribute("aria-expanded", `${!this.numbersTable.hidden}`);
    this.drawTable();
    if (!this.numbersTable.hidden) this.numbersTable.scrollIntoView({ block: "start" });
  }

  whereNow() {
    return whereText(this.scored, this.chosen.patches, this.chosen.isScore);
  }

  // Drawing ---------------------------------------------------------------------------------------------------------

  /** Places everything for the present width and colours, and draws it. */
  fit() {
    this.fittedWidth = this.root.clientWidth;
    this.image.fit();
    this.matrix.fit();
    this.drawMap();
    this.drawNumbers();
  }

  /** Draws all that depends on the chosen patches. */
  drawNumbers() {
    const { scored, chosen } = this;
    this.numbers = numbersAt(scored, chosen.patches);
    this.order = columnOrder(scored, this.numbers, this.byContribution);
    const where = this.whereNow();
    const isMean = chosen.patches.length > 1;
    this.where.textContent = `${where}${chosen.isFixed ? ", fixed" : ""}`;
    this.image.drawMarks(chosen.patches, this.numbers.value, chosen.isFixed);
    this.decomposition.draw(this.numbers, chosen.isScore ? "Image score" : isMean ? "Mean value" : "Value here");
    this.story.replaceChildren(...story(scored, this.numbers, where, chosen.isScore));
    this.neighbours.draw(chosen.patches);
    this.pins.draw(this.numbers);
    mark(this.orderButtons, "by", `${this.byContribution}`);
    this.drawNeuron();
    this.drawTable();
  }

  /** Draws all that depends on the active neuron; where none is, the card shows the one that adds most. */
  drawNeuron() {
    this.matrix.draw(this.numbers, this.order, this.neuron);
    this.top.draw(this.numbers, this.neuron);
    this.card.draw(this.numbers, this.shownNeuron());
  }

  shownNeuron() {
    return this.neuron ?? greatest(this.scored, this.numbers, 1)[0] ?? { layer: 0, column: 0 };
  }

  drawMap() {
    const isNeuron = this.neuron !== null || this.map === "neuron";
    const cell = this.shownNeuronOrNull(isNeuron);
    const isPlain = !cell && this.map === "none";
    const values = cell ? this.valuesOf(cell) : this.scored.maps[isPlain ? "score" : this.map];
    const scale = cell ? this.scaleOf(values) : scoreScale(this.scored);
    this.image.drawMap(values, scale, isPlain ? 0 : this.opacity, this.hasContour ? this.scored.threshold : null);
    this.drawColourBar(scale, cell);
    mark(this.mapButtons, "map", isNeuron ? "neuron" : this.map);
    mark(this.whatButtons, "what", this.neuronMap);
    this.whatGroup.classList.toggle("ms-faint", !isNeuron);
  }

  shownNeuronOrNull(isNeuron) {
    if (!isNeuron) return null;
    this.numbers ??= numbersAt(this.scored, this.chosen.patches);
    return this.shownNeuron();
  }

  valuesOf({ layer, column }) {
    return neuronMap(this.scored.layers[layer], column, this.neuronMap);
  }

  scaleOf(values) {
    return this.neuronMap === "activation" ? activationScale(values) : signedScale(this.contributionLimit);
  }

  drawColourBar(scale, cell) {
    const { threshold, layers } = this.scored;
    const names = { none: "Score of each patch", score: "Score of each patch", visual: "Visual map, unweighted", text: "Text map, unweighted" };
    const neuron = cell && `layer ${layers[cell.layer].layer}, neuron ${layers[cell.layer].neurons[cell.column]}`;
    const ofNeuron = this.neuronMap === "activation" ? "activation" : "what it adds; ▼ side: less active than normal, ▲ side: more";
    this.bar.title.textContent = cell ? `${neuron}: ${ofNeuron}` : `${names[this.map]}, one scale for all images`;
    this.bar.strip.style.background = gradient(scale);
    const isSigned = scale.table === "signed";
    const digits = scale.high < 1 ? 3 : 2;
    const isContribution = cell && this.neuronMap === "contribution";
    this.bar.low.textContent = `${isContribution ? "▼ " : ""}${fixed(isContribution ? -scale.low : scale.low, scale.low ? digits : 0)}`;
    this.bar.high.textContent = `${isContribution ? "▲ " : ""}${fixed(scale.high, digits)}${scale.isOpen ? " and more" : ""}`;
    this.bar.mark.textContent = cell ? (isSigned ? "0" : "") : `threshold ${fixed(threshold, 2)}`;
    this.bar.mark.hidden = Boolean(cell) && !isSigned;
    this.bar.mark.style.left = `${100 * (cell ? 0.5 : Math.min(1, threshold / scale.high))}%`;
  }

  drawThumbnail(canvas, cell, side) {
    const values = neuronMap(this.scored.layers[cell.layer], cell.column, "activation");
    miniature(canvas, this.scored, this.bitmap, values, activationScale(values), side);
  }

  drawTable() {
    if (this.numbersTable.hidden) return;
    this.numbersTable.replaceChildren(...tables(this.scored, this.numbers, this.order, this.whereNow()));
  }
}

function section(title, note, ...children) {
  const head = make("div", { class: "ms-head" }, make("h2", {}, title), make("span", { class: "ms-small" }, note));
  const controls = children.filter((child) => child.classList?.contains("ms-choices"));
  head.append(...controls);
  return make("section", {}, head, ...children.filter((child) => !controls.includes(child)));
}

function choice(name, onclick, data) {
  const button = make("button", { type: "button", onclick }, name);
  Object.assign(button.dataset, data);
  return button;
}

function mark(buttons, key, value) {
  for (const button of buttons) button.setAttribute("aria-pressed", `${button.dataset[key] === value}`);
}

const key = (side) => make("span", { class: `ms-key ms-${side}`, "aria-hidden": "true" });
