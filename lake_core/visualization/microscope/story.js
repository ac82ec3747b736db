// The finding in sentences: how high, above or not, from what, by which neuron.

import { direction, fixed, make, percent } from "./dom.js";
import { greatest } from "./neurons.js";

/** Where the numbers are from: the patches of the image score, one patch, or the mean over a region. */
export function whereText(scored, patches, isScore) {
  const { cols } = scored.grid;
  const place = `row ${Math.floor(patches[0] / cols) + 1}, column ${(patches[0] % cols) + 1}`;
  if (patches.length > 1) return `the mean of ${isScore ? "the top " : ""}${patches.length} patches`;
  return `the ${isScore ? "max-scoring patch" : "patch"} in ${place}`;
}

/** As long as a story gets: every image's story has the same room, so that nothing moves from one to the next. */
export const LONGEST_STORY =
  "The score is 00.00, not above the threshold 00.00 (the max-scoring patch in row 00, column 00). 100% is visual (its " +
  "neurons’ distance from the nearest normal patch), 100% text (closer to words for a defect). Neuron 0000 of layer 00 " +
  "adds most, 0.000: more active here (0.000) than in that patch (0.000).";

/** The sentences, with their numbers in bold. */
export function story(scored, numbers, where, isScore) {
  const bold = (text) => make("strong", {}, text);
  const { value, visual, text } = numbers;
  const above = value > scored.threshold ? "above" : "not above";
  const what = isScore ? "The score is " : `${where[0].toUpperCase()}${where.slice(1)}: `;
  const parts = [what, bold(fixed(value, 2)), `, ${above} the threshold ${fixed(scored.threshold, 2)}`];
  parts.push(isScore ? ` (${where}). ` : ". ");
  const share = (part) => (value > 0 ? percent(part / value) : "0%");
  parts.push(bold(share(visual)), " is visual (its neurons’ distance from the nearest normal patch)");
  if (text === null) parts.push("; the text part is left out. ");
  else parts.push(", ", bold(share(text)), " text (closer to words for a defect). ");
  const [first] = greatest(scored, numbers, 1);
  if (!first) return parts;
  const at = numbers.layers[first.layer];
  const layer = scored.layers[first.layer];
  const [difference, here] = [at.difference[first.column], at.here[first.column]];
  const { level, than } = direction(difference);
  parts.push(
    "Neuron ",
    bold(`${layer.neurons[first.column]}`),
    ` of layer ${layer.layer} adds most, `,
    bold(fixed(at.contributions[first.column])),
    `: ${level} here (${fixed(here)}) ${than} in that patch (${fixed(here - difference)}).`,
  );
  return parts;
}
