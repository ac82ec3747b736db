// Small tools for the page: elements whose texts are never read as HTML, sharp canvases, numbers as text.

/** An element with attributes and children; a child that is a text stays a text. */
export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value != null) element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child != null));
  return element;
}

/** Writes a text, and leaves an element alone that says it already: a change costs a new layout. */
export function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Sizes a canvas in CSS pixels, sharp on every screen; returns its context, cleared. */
export function sharp(canvas, width, height) {
  const ratio = window.devicePixelRatio || 1;
  const [w, h] = [Math.max(1, Math.round(width * ratio)), Math.max(1, Math.round(height * ratio))];
  const context = canvas.getContext("2d");
  if (canvas.width !== w || canvas.height !== h) {
    canvas.width = w;
    canvas.height = h;
    canvas.style.width = `${width}px`;
    canvas.style.height = `${height}px`;
  }
  context.setTransform(w / width, 0, 0, h / height, 0, 0);
  context.clearRect(0, 0, width, height);
  return context;
}

/** A number with so many digits after the point; never "-0". */
export function fixed(value, digits = 3) {
  const text = value.toFixed(digits);
  return Number(text) === 0 ? text.replace("-", "") : text.replace("-", "−");
}

export const quantity = (n, noun) => `${n} ${noun}${n === 1 ? "" : "s"}`;

export const percent = (share) => `${fixed(100 * share, 0)}%`;

/** The sign and the words for a difference of activation. */
export function direction(difference) {
  if (difference > 0) return { mark: "↑", words: "more active than normal", level: "more active", than: "than", side: "more" };
  if (difference < 0) return { mark: "↓", words: "less active than normal", level: "less active", than: "than", side: "less" };
  return { mark: "=", words: "as active as normal", level: "as active", than: "as", side: "same" };
}

/** Whether an element's ground is dark; one that is not in the page has none yet. */
export function isDark(element) {
  const [red = 255, green = 255, blue = 255] = (getComputedStyle(element).backgroundColor.match(/[\d.]+/g) ?? []).map(Number);
  return 0.3 * red + 0.6 * green + 0.1 * blue < 128;
}

/** Colours of the page as it is now, for what is drawn on a canvas. */
export function inks(element) {
  const style = getComputedStyle(element);
  const read = (name) => style.getPropertyValue(`--ms-${name}`).trim();
  return {
    text: style.color,
    muted: read("muted-ink"),
    line: read("line-ink"),
    more: read("more"),
    less: read("less"),
    same: read("same"),
    focus: read("accent"),
    font: style.fontFamily,
  };
}
