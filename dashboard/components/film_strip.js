// The test images in a row, highest score first, and the normal images below: one sprite, a button for each test image.

const instances = new WeakMap();
const PREVIOUS = ",";
const NEXT = ".";

/**
 * Draws `data` ({tests, normals, shown, threshold, sprite, columns, n_rows}) into an element; called again with the same
 * images and scores it moves the mark only, and keeps the focus. setTriggerValue("show", sha256) tells the image asked for.
 */
export default function filmStrip({ data, parentElement, setTriggerValue }) {
  let strip = instances.get(parentElement);
  const { tests, normals, threshold } = data;
  const said = JSON.stringify([tests, normals, threshold]);
  if (strip?.said !== said) {
    strip?.close();
    strip = new FilmStrip(parentElement, data, said);
    instances.set(parentElement, strip);
  }
  strip.setTriggerValue = setTriggerValue;
  strip.follow(data.shown);
  return () => {
    strip.close();
    instances.delete(parentElement);
  };
}

class FilmStrip {
  constructor(parent, data, said) {
    this.data = data;
    this.said = said;
    this.asked = null;
    this.buttons = data.tests.map((test, i) => this.frame(test, i));
    this.row = element("div", { class: "fs-row", role: "group", "aria-label": "Test images, highest score first" }, ...this.buttons);
    const normals = data.normals.map((normal, i) => this.normal(normal, data.tests.length + i));
    const below = element("div", { class: "fs-row fs-normals", role: "group", "aria-label": "Normal images", tabindex: "0" }, ...normals);
    this.root = element("div", { class: "film-strip" }, this.head(), this.row, element("div", { class: "fs-below" }, element("span", {}, `learned from ${normals.length} normal image${normals.length === 1 ? "" : "s"}`), below));
    parent.append(this.root);
    this.row.addEventListener("keydown", (event) => this.onKey(event));
    this.onPageKey = (event) => this.step(event);
    parent.ownerDocument.addEventListener("keydown", this.onPageKey);
  }

  close() {
    this.root.ownerDocument.removeEventListener("keydown", this.onPageKey);
    this.root.remove();
  }

  head() {
    const { tests, threshold } = this.data;
    const nAbove = tests.filter((test) => test.is_above).length;
    this.place = element("span", { class: "fs-place", "aria-live": "polite" });
    const above = ` of ${tests.length} test images by score, ${nAbove} ▲ above ${threshold}`;
    const keys = element("span", { class: "fs-keys" }, element("kbd", {}, PREVIOUS), " ", element("kbd", {}, NEXT), " previous, next");
    return element("div", { class: "fs-head" }, element("span", {}, this.place, above), keys);
  }

  frame({ name, score, is_above: isAbove }, i) {
    const words = `${name}, score ${score}, ${isAbove ? "above" : "not above"} the threshold`;
    const sign = element("span", { class: isAbove ? "fs-score fs-above" : "fs-score" }, `${score} ${isAbove ? "▲" : "▽"}`);
    const onclick = () => this.ask(i);
    return element("button", { type: "button", class: "fs-frame", title: words, "aria-label": words, onclick }, this.image(i), sign);
  }

  normal({ name, score }, i) {
    const words = `${name}, normal, score ${score} against ${this.data.normals.length > 1 ? "the other normal images" : "its own distant patches"}`;
    return element("span", { class: "fs-normal", role: "img", title: words, "aria-label": words }, this.image(i));
  }

  /** The i-th image of the sprite. */
  image(i) {
    const { sprite, columns, n_rows: nRows } = this.data;
    const place = (at, n) => (n > 1 ? `${(100 * at) / (n - 1)}%` : "0");
    const image = element("span", { class: "fs-image" });
    image.style.backgroundImage = `url(${sprite})`;
    image.style.backgroundSize = `${100 * columns}% ${100 * nRows}%`;
    image.style.backgroundPosition = `${place(i % columns, columns)} ${place(Math.floor(i / columns), nRows)}`;
    return image;
  }

  /** Moves the mark to where the server is, unless it has not answered the last question yet. */
  follow(shown) {
    if (this.asked !== null && this.asked !== shown) return;
    this.asked = null;
    this.mark(this.data.tests.findIndex((test) => test.sha256 === shown));
  }

  mark(at) {
    this.at = at;
    for (const [i, button] of this.buttons.entries()) {
      button.setAttribute("aria-current", `${i === at}`);
      button.tabIndex = i === at ? 0 : -1;
    }
    this.place.textContent = `${at + 1}`;
    const { offsetLeft, offsetWidth } = this.buttons[at];
    this.row.scrollLeft = offsetLeft + offsetWidth / 2 - this.row.clientWidth / 2;
  }

  ask(i) {
    const at = Math.min(this.buttons.length - 1, Math.max(0, i));
    if (at === this.at) return;
    this.mark(at);
    this.asked = this.data.tests[at].sha256;
    this.setTriggerValue("show", this.asked);
  }

  onKey(event) {
    const last = this.buttons.length - 1;
    const places = { ArrowLeft: this.at - 1, ArrowRight: this.at + 1, Home: 0, End: last };
    if (!(event.key in places)) return;
    event.preventDefault();
    this.ask(places[event.key]);
    this.buttons[this.at].focus({ preventScroll: true });
  }

  step(event) {
    const isTyping = event.composedPath()[0].matches?.("input:not([type=range], [type=checkbox]), textarea, select, [contenteditable]");
    if (isTyping || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === PREVIOUS) this.ask(this.at - 1);
    else if (event.key === NEXT) this.ask(this.at + 1);
  }
}

/** An element with attributes and children; texts stay texts. */
function element(tag, attributes, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "onclick") made.addEventListener("click", value);
    else made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
}
