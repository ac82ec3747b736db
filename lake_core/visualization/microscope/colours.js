// Colour scales that are told apart with every kind of colour vision. Tables are samples of Matplotlib's.

// prettier-ignore
const SCALES = {
  score: ["#2b0b57", "#520e6d", "#781c6d", "#9d2964", "#c03a51", "#df5337", "#f3761b", "#fc9f07", "#f9cb35", "#f3f68a"],
  activation: ["#471365", "#453581", "#3a548c", "#2d708e", "#23898e", "#1fa287", "#3bbb75", "#73d056", "#b8de29", "#fde725"],
  signed: ["#08519c", "#2f7fbc", "#6baed6", "#b3d3e8", "#f2f2f2", "#fdcf9e", "#fd9a47", "#e6680f", "#a63e03"],
};

/** The one scale of the score, visual and text maps: from 0 on, and clear below half of the threshold. */
export function scoreScale(scored) {
  const reference = scored.threshold > 0 ? scored.threshold : scored.vmax / 2;
  const cover = (value) => smoothstep(value / reference, 0.5, 1.25);
  return { table: "score", low: 0, high: scored.vmax, isOpen: true, cover };
}

/** The scale of one neuron's activations over some values; two colours only where there are values below zero. */
export function activationScale(values) {
  const low = values.reduce((least, value) => Math.min(least, value), 0);
  const high = values.reduce((most, value) => Math.max(most, value), 0) || 1;
  if (low < 0) return signedScale(Math.max(-low, high));
  return { table: "activation", low: 0, high, cover: (value) => smoothstep(value / high, 0.05, 0.6) };
}

/** A scale from -limit to limit, clear around 0. */
export function signedScale(limit) {
  const cover = (value) => smoothstep(Math.abs(value) / limit, 0.02, 0.4);
  return { table: "signed", low: -limit, high: limit, cover };
}

/** Writes the colour of a value into bytes (r, g, b, alpha) at an offset. */
export function paint(scale, value, bytes, offset) {
  const table = tableOf(scale.table);
  const share = Math.min(1, Math.max(0, (value - scale.low) / (scale.high - scale.low)));
  const at = 3 * Math.round(share * 255);
  bytes[offset] = table[at];
  bytes[offset + 1] = table[at + 1];
  bytes[offset + 2] = table[at + 2];
  bytes[offset + 3] = 255;
}

/** The scale's colours as a CSS gradient from left to right. */
export function gradient(scale) {
  return `linear-gradient(to right, ${SCALES[scale.table].join(", ")})`;
}

const filled = {};

/** 256 colours (r, g, b) between those of a scale. */
function tableOf(name) {
  if (!filled[name]) {
    const stops = SCALES[name].map((hex) => [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16)));
    filled[name] = new Uint8Array(768).map((_, i) => {
      const position = (Math.floor(i / 3) / 255) * (stops.length - 1);
      const first = Math.min(Math.floor(position), stops.length - 2);
      const [before, after] = [stops[first][i % 3], stops[first + 1][i % 3]];
      return Math.round(before + (after - before) * (position - first));
    });
  }
  return filled[name];
}

function smoothstep(x, start, end) {
  const t = Math.min(1, Math.max(0, (x - start) / (end - start)));
  return t * t * (3 - 2 * t);
}
