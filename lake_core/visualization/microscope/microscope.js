// The linked views of one image, and what is chosen in them.

import { activationScale, scoreScale, signedScale } from "./colours.js";
import { ColourBar, Toolbar, choices } from "./controls.js";
import { Decomposition } from "./decomposition.js";
import { fixed, isDark, make, say } from "./dom.js";
import { ImageView, miniature, shrunk } from "./image_view.js";
import { LayerStrip, allLayers, hasMoreLayers, layerText, onOwnGrid } from "./layers.js";
import { header, leftColumn, rightColumn } from "./layout.js";
import { Matrix, cellText, columnOrder, mostAdded } from "./matrix.js";
import { Neighbours } from "./neighbours.js";
import { NeuronCard, Pins, TopNeurons, greatest, isSame } from "./neurons.js";
import { neuronMap, numbersAt } from "./payload.js";
import { story, whereText } from "./story.js";
import { tables } from "./table.js";

/** With more layers the matrix takes the crops' place, and they that of a part of the image. */
const MANY_LAYERS = 8;
const HEIGHT = 530;
const LOW_HEIGHT = 324;

export class Microscope {
  /** `kept`: what was chosen in the view that this one replaces, from `choices`. */
  constructor(root, { scored, bitmap, other, normals }, host, kept = null) {
    this.root = root;
    this.scored = scored;
    this.bitmap = bitmap;
    this.small = shrunk(bitmap, 184);
    this.other = other && shrunk(other, 184);
    this.host = host;
    this.limit = mostAdded(scored);
    this.chosen = startsWith(scored, kept);
    this.neuron = null;
    this.shown = kept?.shown ?? { map: "score", neuronMap: "activation", opacity: 0.75, hasContour: true };
    if (this.shown.map === "text" && !scored.maps.text) this.shown.map = "score";
    this.byContribution = kept?.byContribution ?? true;
    this.isTall = allLayers(scored).length > MANY_LAYERS;
    this.layer = null;
    this.fixedLayer = indexOf(scored, kept?.layer);
    this.makeViews(normals);
    this.lay();
    this.closers = this.listen();
    for (const pinned of kept?.pins ?? []) this.pins.add(pinned);
    this.fit();
  }

  /** What was chosen, for the view that takes this one's place. */
  choices() {
    const { scored, chosen, shown, byContribution } = this;
    const { image: { name }, fixed: asked, grid } = scored;
    const layer = scored.layers[this.fixedLayer]?.layer ?? null;
    return { name, asked, grid, chosen, shown, byContribution, layer, pins: this.pins.numbers() };
  }

  makeViews(normals) {
    const { scored } = this;
    const thumbnail = (canvas, cell, side) => this.drawThumbnail(canvas, cell, side);
    const onNeuron = {
      hover: (cell) => this.chooseNeuron(cell),
      open: (cell) => this.open(cell ?? this.neuron),
      pin: (cell) => this.pin(cell),
      active: () => this.neuron,
    };
    this.image = new ImageView(scored, this.bitmap, this.isTall ? LOW_HEIGHT : HEIGHT, {
      hover: (patch) => this.chosen.isFixed || this.choose([patch]),
      leave: () => this.chosen.isFixed || this.chooseScore(),
      fix: (patch) => this.fix(patch),
      region: (patches) => this.choose(patches, true),
      regionEnds: () => this.tellFixed(),
      step: (rows, cols, extend) => this.step(rows, cols, extend),
      stepEnds: () => this.chosen.isFixed && this.tellFixed(),
    });
    this.toolbar = new Toolbar(scored, this.shown, (changes) => this.set(changes));
    this.colourBar = new ColourBar();
    this.decomposition = new Decomposition(scored);
    this.matrix = new Matrix(scored, this.limit, onNeuron);
    this.order = choices(
      "Order of the neurons",
      [["by contribution here", true], ["by sensitivity", false]],
      (by) => this.setOrder(by),
    );
    this.top = new TopNeurons(scored, onNeuron);
    this.card = new NeuronCard(scored, (canvases, cell, side) => this.drawBeside(canvases, cell, side));
    this.layers = hasMoreLayers(scored)
      ? new LayerStrip(scored, this.small, { hover: (i) => this.chooseLayer(i), fix: (i) => this.fixLayer(i) })
      : null;
    this.pins = new Pins(scored, thumbnail, onNeuron);
    this.neighbours = new Neighbours(scored, this.bitmap, normals);
  }

  lay() {
    this.where = make("span", { class: "ms-where" });
    this.story = make("span", {});
    this.said = make("div", { class: "ms-said", "aria-live": "polite" });
    this.tables = make("div", { class: "ms-tables", hidden: true });
    this.tableButton = make("button", { type: "button", "aria-expanded": "false", onclick: () => this.toggleTables() }, "Numbers as a table");
    const columns = make("div", { class: "ms-columns" }, leftColumn(this), rightColumn(this));
    this.root.append(header(this), columns, this.tables, this.said);
  }

  listen() {
    const page = this.root.ownerDocument;
    const onKey = (event) => {
      const isTyping = event.composedPath()[0].matches?.("input:not([type=range], [type=checkbox]), textarea, select");
      if (isTyping || event.ctrlKey || event.metaKey || event.altKey) return;
      if (event.key === "Escape") this.release();
      else if (event.key.toLowerCase() === "p" && this.neuron) this.pin(this.neuron);
    };
    const onScheme = () => this.fit();
    // Paper is light. No frame is drawn while a page is printed, so that the image must stay as it is.
    const onPaper = () => {
      this.matrix.fit();
      this.drawMatrix();
    };
    const [scheme, paper] = ["(prefers-color-scheme: dark)", "print"].map((query) => window.matchMedia(query));
    const resized = new ResizeObserver(() => this.root.clientWidth !== this.fittedWidth && this.fit());
    page.addEventListener("keydown", onKey);
    scheme.addEventListener("change", onScheme);
    paper.addEventListener("change", onPaper);
    resized.observe(this.root);
    return [
      () => page.removeEventListener("keydown", onKey),
      () => scheme.removeEventListener("change", onScheme),
      () => paper.removeEventListener("change", onPaper),
      () => resized.disconnect(),
    ];
  }

  close() {
    this.closers.forEach((close) => close());
  }

  // What is chosen --------------------------------------------------------------------------------------------------

  choose(patches, isFixed = false, isScore = false) {
    this.chosen = { patches, isFixed, isScore };
    this.corner = this.far = null;
    this.drawNumbers();
  }

  chooseScore() {
    this.choose(this.scored.patches, false, true);
  }

  /** Fixes a patch (null: what is chosen), or lets go of the one that is fixed. */
  fix(patch) {
    const { patches, isFixed } = this.chosen;
    if (isFixed && (patch === null || (patches.length === 1 && patches[0] === patch))) {
      this.release();
    } else {
      this.choose(patch === null ? patches : [patch], true);
      this.tellFixed();
    }
  }

  /** Tells the host which patch is fixed; a region is no patch, and what the host shows of one is over. */
  tellFixed() {
    const { patches, isFixed } = this.chosen;
    this.host.setTriggerValue?.("fix", { patch: isFixed && patches.length === 1 ? patches[0] : null });
  }

  release() {
    this.neuron = this.fixedLayer = null;
    this.chooseScore();
    this.drawLayer();
    this.host.setTriggerValue?.("fix", { patch: null });
  }

  /** Moves the chosen patch, or with `extend` the far corner of the region. */
  step(rows, cols, extend) {
    const { grid, inside } = this.scored;
    const { patches, isFixed } = this.chosen;
    const [corner, from] = extend ? [this.corner ?? patches[0], this.far ?? patches[0]] : [null, patches[0]];
    const row = Math.min(grid.rows - 1, Math.max(0, Math.floor(from / grid.cols) + rows));
    const col = Math.min(grid.cols - 1, Math.max(0, (from % grid.cols) + cols));
    const patch = row * grid.cols + col;
    if (!inside[patch]) return;
    this.choose(extend ? this.image.between(corner, patch) : [patch], extend || isFixed);
    if (extend) [this.corner, this.far] = [corner, patch];
    this.said.textContent = `${this.whereNow()}: ${fixed(this.numbers.value, 2)}`;
  }

  chooseNeuron(cell) {
    if (isSame(cell, this.neuron) || (!cell && !this.neuron)) return;
    this.neuron = cell;
    this.drawNeuron();
    this.drawMap();
    if (cell) this.said.textContent = cellText(this.scored, this.numbers, cell);
  }

  chooseLayer(i) {
    if (i === this.layer) return;
    this.layer = i;
    this.drawLayer();
    if (i !== null) this.said.textContent = layerText(this.scored.layers[i]);
  }

  /** Keeps a layer's map on the image, or lets go of it. */
  fixLayer(i) {
    this.fixedLayer = i === this.fixedLayer ? null : i;
    this.drawLayer();
  }

  shownLayer() {
    return this.layer ?? this.fixedLayer;
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

  set(changes) {
    Object.assign(this.shown, changes);
    if ("map" in changes) this.fixedLayer = null;
    this.drawLayer();
  }

  setOrder(byContribution) {
    this.byContribution = byContribution;
    this.drawNumbers();
  }

  toggleTables() {
    this.tables.hidden = !this.tables.hidden;
    this.tableButton.setAttribute("aria-expanded", `${!this.tables.hidden}`);
    this.drawTables();
    if (!this.tables.hidden) this.tables.scrollIntoView({ block: "start" });
  }

  whereNow() {
    return whereText(this.scored, this.chosen.patches, this.chosen.isScore);
  }

  /** The neuron whose card and map are shown: the active one, else the one that adds most. */
  shownNeuron() {
    return this.neuron ?? greatest(this.scored, this.numbers, 1)[0];
  }

  // Drawing ---------------------------------------------------------------------------------------------------------

  /** Places everything for the present width and colours, and draws it. */
  fit() {
    this.fittedWidth = this.root.clientWidth;
    this.root.classList.toggle("ms-dark", isDark(this.root));
    this.image.fit();
    this.matrix.fit();
    this.layers?.fit();
    this.drawNumbers();
    this.drawLayer();
  }

  /** Draws all that depends on the chosen patches. */
  drawNumbers() {
    const { scored, chosen } = this;
    this.numbers = numbersAt(scored, chosen.patches);
    this.columns = columnOrder(scored, this.numbers, this.byContribution);
    this.order.mark(this.byContribution);
    const where = this.whereNow();
    const sumName = chosen.patches.length > 1 ? "Mean value" : "Value here";
    say(this.where, `${where}${chosen.isFixed ? ", fixed" : ""}`);
    this.story.replaceChildren(...story(scored, this.numbers, where, chosen.isScore));
    this.image.drawMarks(chosen.patches, this.numbers.value, chosen.isFixed);
    this.decomposition.draw(this.numbers, chosen.isScore ? "Image score" : sumName);
    this.neighbours.draw(chosen.patches);
    this.pins.draw(this.numbers);
    this.drawNeuron();
    this.drawTables();
    if (this.shown.map === "neuron" && !this.neuron) this.drawMap();
  }

  drawMatrix() {
    this.matrix.draw(this.numbers, this.columns, this.neuron, this.shownLayer());
  }

  /** Draws all that depends on the active neuron. */
  drawNeuron() {
    this.drawMatrix();
    this.top.draw(this.numbers, this.neuron);
    this.card.draw(this.numbers, this.shownNeuron());
  }

  /** Draws all that depends on the layer whose own map is shown. */
  drawLayer() {
    this.layers?.draw(this.shownLayer(), this.fixedLayer);
    this.drawMatrix();
    this.drawMap();
  }

  drawMap() {
    const { map, neuronMap: kind, opacity, hasContour } = this.shown;
    const { scored } = this;
    const threshold = hasContour ? scored.threshold : null;
    const layer = this.neuron ? null : this.shownLayer();
    if (layer !== null) {
      const { layer: number, map: values } = scored.layers[layer];
      this.image.drawMap(values, scoreScale(scored), opacity, threshold, onOwnGrid(scored, scored.layers[layer]));
      this.colourBar.drawLayer(scoreScale(scored), number, scored.value_of_one);
    } else if (this.neuron || map === "neuron") {
      const { layer, column } = this.shownNeuron();
      const values = neuronMap(scored.layers[layer], column, kind);
      const scale = kind === "activation" ? activationScale(onImage(values, scored.inside)) : signedScale(this.limit);
      this.image.drawMap(values, scale, opacity, threshold);
      const name = `layer ${scored.layers[layer].layer}, neuron ${scored.layers[layer].neurons[column]}`;
      this.colourBar.drawNeuron(scale, name, kind);
    } else {
      const scale = scoreScale(scored);
      const isPlain = map === "none";
      this.image.drawMap(scored.maps[isPlain ? "score" : map], scale, isPlain ? 0 : opacity, threshold);
      this.colourBar.drawScores(scale, map, scored.threshold);
    }
    this.toolbar.draw(this.neuron ? "neuron" : layer === null ? map : "layer", kind);
  }

  drawThumbnail(canvas, cell, side) {
    const values = neuronMap(this.scored.layers[cell.layer], cell.column, "activation");
    miniature(canvas, this.scored, this.small, values, activationScale(onImage(values, this.scored.inside)), side);
  }

  /** A neuron's maps on this image and on the other one, where it is known there, on one scale. */
  drawBeside([here, there], { layer, column }, side) {
    const { scored } = this;
    const shown = scored.layers[layer];
    const values = neuronMap(shown, column, "activation");
    const others = shown.other ? neuronMap(shown, column, "other") : [];
    const seen = shown.other ? onImage(others, scored.other.inside) : [];
    const scale = activationScale([...onImage(values, scored.inside), ...seen]);
    miniature(here, scored, this.small, values, scale, side);
    if (!shown.other) return;
    miniature(there, { ...scored, image: scored.other, inside: scored.other.inside }, this.other, others, scale, side);
  }

  drawTables() {
    if (this.tables.hidden) return;
    this.tables.replaceChildren(...tables(this.scored, this.numbers, this.columns, this.whereNow()));
  }
}

/** The patches that a view begins with: those of the view before if it showed the same image, else the one to be fixed. */
function startsWith(scored, kept) {
  const { fixed: asked, grid, image, patches } = scored;
  const isSameImage = kept?.name === image.name && kept.asked === asked;
  const isSameGrid = kept?.grid.rows === grid.rows && kept?.grid.cols === grid.cols;
  if (isSameImage && isSameGrid && !kept.chosen.isScore) return kept.chosen;
  const isFixed = asked !== null;
  return { patches: isFixed ? [asked] : patches, isFixed, isScore: !isFixed };
}

/** The values of patches that lie on the image: the margins of a letterbox are not drawn. */
const onImage = (values, inside) => values.filter((_, patch) => inside[patch]);

/** The index of a layer by its number, or null. */
function indexOf(scored, number) {
  const i = scored.layers.findIndex((layer) => layer.layer === number);
  return i < 0 ? null : i;
}
