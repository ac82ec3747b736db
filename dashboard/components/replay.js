// A selection that forms, step by step: the ranking with its cut at K, what enters, what leaves, and the share kept.
// Everything is in the data from the start, so that no step asks the server.

const SVG = "http://www.w3.org/2000/svg";
const HEIGHT = 240;
const STRIP_HEIGHT = 96;
const MARGIN = { left: 48, right: 10, top: 30, bottom: 40 };
const PAUSE_MS = 1000;
const MOST_NAMES = 60;
const instances = new WeakMap();

/**
 * Shows a replay in an element; called again with the same data it keeps the step.
 *
 * data: from dashboard/plots/formation.py. setTriggerValue("open_neuron", neuron) asks for a neuron's page.
 */
export default function replay({ data, parentElement, setTriggerValue }) {
  const before = instances.get(parentElement);
  const text = JSON.stringify(data);
  if (before?.text === text) {
    before.host.setTriggerValue = setTriggerValue;
    return before.close;
  }
  const at = before?.steps === data.steps.length ? before.view.at : Math.min(1, data.steps.length - 1);
  before?.close();
  const host = { setTriggerValue };
  const root = make("div", { class: "replay" });
  parentElement.append(root);
  const view = new Replay(root, data, host, at);
  const close = () => {
    view.close();
    root.remove();
    instances.delete(parentElement);
  };
  instances.set(parentElement, { text, host, view, steps: data.steps.length, close });
  return close;
}

/** An element with attributes and children; a child that is a text stays a text. */
function make(tag, attributes = {}, ...children) {
  return filled(document.createElement(tag), attributes, children);
}

/** The same for what is drawn. */
function draw(tag, attributes = {}, ...children) {
  return filled(document.createElementNS(SVG, tag), attributes, children);
}

function filled(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value != null) element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child != null));
  return element;
}

const percent = (share) => `${Math.round(100 * share)}%`;

/** About n round numbers from 0 to a limit. */
function ticks(limit, n) {
  const raw = limit / n;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((one) => one * power).find((one) => one >= raw);
  return Array.from({ length: Math.floor(limit / step) + 1 }, (_, i) => Number((i * step).toPrecision(6)));
}

class Replay {
  constructor(root, data, host, at) {
    Object.assign(this, { root, data, host, at, timer: null, isUntouched: true });
    this.reduced = window.matchMedia("(prefers-reduced-motion: reduce)");
    this.build();
    this.watcher = new ResizeObserver(() => this.fit());
    this.watcher.observe(root);
    this.onReduced = () => this.show(this.at);
    this.reduced.addEventListener("change", this.onReduced);
    this.show(at);
  }

  build() {
    const { data, root } = this;
    const last = data.steps.length - 1;
    const step = (by) => this.take(this.at + by);
    this.play = make("button", { type: "button", class: "rp-play", onclick: () => this.toggle() });
    this.back = make("button", { type: "button", "aria-label": "Previous step", onclick: () => step(-1) }, "◀");
    this.next = make("button", { type: "button", "aria-label": "Next step", onclick: () => step(1) }, "▶");
    this.slider = make("input", { type: "range", min: 0, max: last, step: 1, "aria-label": data.slider });
    this.slider.addEventListener("input", () => this.take(Number(this.slider.value)));
    this.name = make("strong", { class: "rp-name" });
    this.says = make("p", { class: "rp-says", "aria-live": "polite" });
    this.chart = draw("svg", { class: "rp-chart", role: "img" });
    this.strip = draw("svg", { class: "rp-strip", "aria-hidden": "true" });
    this.entered = make("div", { class: "rp-neurons" });
    this.left = make("div", { class: "rp-neurons" });
    this.images = data.images.map(({ name, source }) => make("img", { src: source, alt: name, title: name }));
    const key = (what, mark, words) => make("span", {}, make("i", { style: `color:${data.colours[what]}` }, mark), words);
    const keys = [
      key("selected", "■", "selected, as before"),
      key("entered", "▲", "enters"),
      key("left", "▼", "leaves"),
      key("rest", "■", "not selected"),
    ];
    root.append(
      make("div", { class: "rp-images", hidden: this.images.length ? null : "" }, ...this.images),
      make("div", { class: "rp-controls", hidden: last ? null : "" }, this.play, this.back, this.slider, this.next, this.name),
      this.says,
      make("p", { class: "rp-title" }, `Sensitivity (${data.axis}) by rank`),
      this.chart,
      make("p", { class: "rp-keys" }, ...keys),
      make("div", { class: "rp-lists", hidden: last ? null : "" }, this.entered, this.left),
      make("p", { class: "rp-title", hidden: last ? null : "" }, data.strip),
      this.strip,
    );
    this.strip.toggleAttribute("hidden", !last);
  }

  close() {
    this.stop();
    this.watcher.disconnect();
    this.reduced.removeEventListener("change", this.onReduced);
  }

  /** A step that the visitor has chosen: what plays stops. */
  take(at) {
    this.stop();
    this.isUntouched = false;
    this.show(at);
  }

  toggle() {
    if (this.timer !== null) {
      this.stop();
      this.show(this.at);
      return;
    }
    const last = this.data.steps.length - 1;
    const start = this.isUntouched || this.at === last ? 0 : this.at + 1;
    this.isUntouched = false;
    this.timer = window.setInterval(() => {
      if (this.at + 1 >= last) this.stop();
      this.show(this.at + 1);
    }, PAUSE_MS);
    this.show(start);
  }

  stop() {
    window.clearInterval(this.timer);
    this.timer = null;
  }

  show(at) {
    const { data } = this;
    const last = data.steps.length - 1;
    this.at = Math.min(Math.max(at, 0), last);
    const step = data.steps[this.at];
    const isPlaying = this.timer !== null;
    this.play.textContent = isPlaying ? "❚❚ Pause" : "▶ Play";
    this.play.hidden = this.reduced.matches; // nothing moves by itself for who asks for that; the steps stay
    this.slider.value = this.at;
    this.slider.setAttribute("aria-valuetext", step.name);
    this.back.disabled = this.at === 0;
    this.next.disabled = this.at === last;
    this.name.textContent = step.name;
    this.says.setAttribute("aria-live", isPlaying ? "off" : "polite");
    this.says.textContent = step.says;
    this.images.forEach((image, i) => {
      image.className = i < this.at ? "" : i === this.at ? "rp-new" : "rp-later";
    });
    this.list(this.entered, "▲", "entered", step.entered);
    this.list(this.left, "▼", "left", step.left);
    this.fit();
  }

  /** The numbers of neurons, each a way to its page. */
  list(holder, mark, what, neurons) {
    const open = (neuron) => this.host.setTriggerValue("open_neuron", neuron);
    const names = neurons.slice(0, MOST_NAMES).map(({ neuron, rank }) =>
      make("button", { type: "button", title: `Open neuron ${neuron}, rank ${rank}`, onclick: () => open(neuron) }, String(neuron)),
    );
    const more = neurons.length - names.length;
    const head = make("p", {}, make("i", { style: `color:${this.data.colours[what]}` }, mark), `${what === "left" ? "Leave" : "Enter"}: ${neurons.length || "none"}`);
    holder.replaceChildren(head, ...names, ...(more > 0 ? [make("span", {}, `and ${more} more, in the table below`)] : []));
  }

  fit() {
    const width = this.root.clientWidth;
    if (!width) return;
    this.drawRanking(width);
    this.drawStrip(width);
  }

  drawRanking(width) {
    const { data } = this;
    const step = data.steps[this.at];
    const values = data.curves[step.curve];
    const bottom = HEIGHT - MARGIN.bottom;
    const x = (rank) => MARGIN.left + ((rank - 1) / data.n_ranks) * (width - MARGIN.left - MARGIN.right);
    const y = (value) => bottom - (value / data.peak) * (bottom - MARGIN.top);
    const area = (from, to) => {
      let path = `M${x(from)} ${bottom}`;
      for (let rank = from; rank <= to; rank++) path += `V${y(values[rank - 1])}H${x(rank + 1)}`;
      return `${path}V${bottom}Z`;
    };
    const k = Math.min(step.k, data.n_ranks);
    const parts = [draw("path", { d: area(1, k), fill: data.colours.selected })];
    if (k < data.n_ranks) parts.push(draw("path", { d: area(k + 1, data.n_ranks), fill: data.colours.rest }));
    for (const [what, neurons] of [["entered", step.entered], ["left", step.left]]) {
      for (const one of neurons) parts.push(this.marked(what, one, x, y, bottom));
    }
    const cut = x(k + 1);
    const isRight = cut > width / 2;
    parts.push(
      draw("line", { x1: cut, x2: cut, y1: 16, y2: bottom, class: "rp-cut", stroke: data.colours.cut }),
      draw("text", { x: cut + (isRight ? -6 : 6), y: 14, "text-anchor": isRight ? "end" : "start" }, `cut at K = ${step.k}`),
      draw("line", { x1: MARGIN.left, x2: width - MARGIN.right, y1: bottom, y2: bottom, class: "rp-line" }),
    );
    for (const value of ticks(data.peak, 4)) parts.push(draw("text", { x: MARGIN.left - 6, y: y(value) + 4, "text-anchor": "end" }, String(value)));
    for (const rank of ticks(data.n_ranks, width < 500 ? 3 : 8)) {
      parts.push(draw("text", { x: (x(Math.max(rank, 1)) + x(Math.max(rank, 1) + 1)) / 2, y: bottom + 16, "text-anchor": "middle" }, String(Math.max(rank, 1))));
    }
    parts.push(draw("text", { x: (MARGIN.left + width) / 2, y: HEIGHT - 6, "text-anchor": "middle" }, "rank of the neuron (1 = most sensitive)"));
    this.chart.setAttribute("viewBox", `0 0 ${width} ${HEIGHT}`);
    this.chart.setAttribute("height", HEIGHT);
    this.chart.setAttribute("aria-label", `Neurons of layer ${data.layer} ranked by sensitivity (${data.axis}). ${step.name}: ${step.says}`);
    this.chart.replaceChildren(...parts);
  }

  /** A neuron that enters or leaves: its bar, and a mark above it. */
  marked(what, { neuron, rank, value }, x, y, bottom) {
    const { data } = this;
    const wide = Math.max(x(2) - x(1), 2);
    const middle = (x(rank) + x(rank + 1)) / 2;
    const top = y(value);
    const tip = what === "entered" ? `${middle - 5} ${top - 3}h10l-5 -9Z` : `${middle - 5} ${top - 12}h10l-5 9Z`;
    return draw(
      "g",
      { fill: data.colours[what] },
      draw("title", {}, `neuron ${neuron} ${what === "entered" ? "enters at" : "leaves, now"} rank ${rank}`),
      draw("rect", { x: middle - wide / 2, width: wide, y: top, height: Math.max(bottom - top, 1) }),
      draw("path", { d: `M${tip}` }),
    );
  }

  drawStrip(width) {
    const { data } = this;
    const n = data.steps.length;
    const bottom = STRIP_HEIGHT - 20;
    const column = (width - MARGIN.left - MARGIN.right) / n;
    const y = (share) => bottom - share * (bottom - 18);
    const every = Math.ceil(34 / column);
    const parts = [];
    data.steps.forEach((step, i) => {
      const left = MARGIN.left + i * column;
      const isHere = i === this.at;
      const gap = Math.min(4, column * 0.15);
      const bar = [draw("rect", { x: left, y: 0, width: column, height: STRIP_HEIGHT, fill: "transparent" })];
      if (step.share !== null) {
        bar.push(
          draw("rect", { x: left + gap, width: column - 2 * gap, y: y(step.share), height: Math.max(bottom - y(step.share), 1), fill: data.colours.selected, opacity: isHere ? 1 : 0.45 }),
          draw("line", { x1: left + gap, x2: left + column - gap, y1: y(step.chance), y2: y(step.chance), class: "rp-chance" }),
        );
        if (isHere || column >= 44) bar.push(draw("text", { x: left + column / 2, y: y(step.share) - 4, "text-anchor": "middle" }, percent(step.share)));
      }
      if (isHere || i % every === 0) {
        const crowds = !isHere && Math.abs(i - this.at) * column < 34;
        if (!crowds) bar.push(draw("text", { x: left + column / 2, y: STRIP_HEIGHT - 5, "text-anchor": "middle", class: isHere ? "rp-here" : null }, step.tick));
      }
      parts.push(draw("g", { class: "rp-column", onclick: () => this.take(i) }, ...bar));
    });
    parts.push(draw("line", { x1: MARGIN.left, x2: width - MARGIN.right, y1: bottom, y2: bottom, class: "rp-line" }));
    for (const share of [0, 1]) parts.push(draw("text", { x: MARGIN.left - 6, y: y(share) + 4, "text-anchor": "end" }, percent(share)));
    this.strip.setAttribute("viewBox", `0 0 ${width} ${STRIP_HEIGHT}`);
    this.strip.setAttribute("height", STRIP_HEIGHT);
    this.strip.replaceChildren(...parts);
  }
}
