// Reads the blob that payload.py writes, and the numbers of any patch or region out of it.

const KINDS = { u1: Uint8Array, u2: Uint16Array, u4: Uint32Array, f4: Float32Array, f8: Float64Array };

/** The scored image in a blob: its header, its sections by name, its maps and its layers. */
export function decode(bytes) {
  const length = new DataView(bytes.buffer, bytes.byteOffset).getUint32(0, true);
  const header = JSON.parse(new TextDecoder().decode(bytes.subarray(4, 4 + length)));
  const section = (name) => {
    const [offset, size, kind] = header.sections[name];
    const part = bytes.slice(4 + length + offset, 4 + length + offset + size);
    return kind in KINDS ? new KINDS[kind](part.buffer) : part;
  };
  const has = (name) => name in header.sections;
  const maps = { score: section("score"), visual: section("visual") };
  if (has("text")) maps.text = section("text");
  return {
    ...header,
    maps,
    inside: section("inside"),
    image: { ...header.image, jpeg: section("image") },
    normals: header.normals.map((normal, i) => ({ ...normal, jpeg: has(`normal.${i}`) ? section(`normal.${i}`) : null })),
    other: header.other && { ...header.other, jpeg: section("other.image"), inside: section("other.inside") },
    layers: header.layers.map((layer, i) => readLayer(layer, i, section, has)),
  };
}

function readLayer(layer, i, section, has) {
  const names = ["map", "difference", "here", "low", "step", "rest", "patch", "normal_image", "normal_patch", "under"];
  if (has(`${i}.other`)) names.push("other", "other_low", "other_step");
  return { ...layer, ...Object.fromEntries(names.map((name) => [name, section(`${i}.${name}`)])) };
}

/** What the mean value of some patches is made of: each layer's neurons, the rest of the layer, and the text part. */
export function numbersAt(scored, patches) {
  const layers = scored.layers.map((layer) => layerAt(layer, patches));
  const visual = layers.reduce((sum, one, i) => sum + (scored.layers[i].in_score ? one.total : 0), 0);
  const text = scored.maps.text ? scored.fusion_weight * mean(patches, (patch) => scored.maps.text[patch]) : null;
  return { layers, visual, text, value: visual + (text ?? 0) };
}

function layerAt(layer, patches) {
  const k = layer.neurons.length;
  const squares = new Float64Array(k);
  const here = new Float64Array(k);
  const difference = new Float64Array(k);
  let rest = 0;
  for (const patch of patches) {
    const row = layer.under[patch];
    for (let column = 0, at = row * k; column < k; column += 1, at += 1) {
      squares[column] += layer.difference[at] ** 2;
      difference[column] += layer.difference[at];
      here[column] += layer.here[at];
    }
    rest += layer.rest[row];
  }
  const n = patches.length;
  const contributions = squares.map((sum) => (sum / n / layer.tau) * layer.weight);
  rest = (rest / n) * layer.weight;
  return {
    contributions,
    rest,
    total: contributions.reduce((sum, one) => sum + one, 0) + rest,
    here: here.map((sum, column) => layer.low[column] + (layer.step[column] * sum) / n),
    difference: difference.map((sum) => sum / n),
  };
}

/**
 * A neuron's map over the fused grid: its activation, that on the other image ("other"), or what it adds, below zero where
 * it is less active than normal.
 */
export function neuronMap(layer, column, what) {
  const k = layer.neurons.length;
  return Float32Array.from(layer.under, (row) => {
    const at = row * k + column;
    if (what === "other") return layer.other_low[column] + layer.other_step[column] * layer.other[at];
    if (what === "activation") return layer.low[column] + layer.step[column] * layer.here[at];
    return Math.sign(layer.difference[at]) * (layer.difference[at] ** 2 / layer.tau) * layer.weight;
  });
}

/** The nearest normal patch of a patch of the fused grid: index of the normal image, and box on it, 0 to 1. */
export function nearestNormal(scored, layer, patch) {
  const row = layer.under[patch];
  const image = layer.normal_image[row];
  return { image, box: boxOf(layer.grid, scored.normals[image].placement, layer.normal_patch[row]) };
}

/** A patch's box on its image, in shares of width and height, clipped to the image. */
export function boxOf(grid, placement, patch) {
  const row = Math.floor(patch / grid.cols);
  const col = patch % grid.cols;
  const x = (edge) => clip(((edge * grid.covered_width) / grid.cols - placement.left) / placement.width);
  const y = (edge) => clip(((edge * grid.covered_height) / grid.rows - placement.top) / placement.height);
  return { left: x(col), top: y(row), right: x(col + 1), bottom: y(row + 1) };
}

/** The patch of the fused grid at a point of the image, given in shares of its width and height; -1 where there is none. */
export function patchAt(scored, x, y) {
  const { grid, inside, image: { placement } } = scored;
  if (x < 0 || y < 0 || x >= 1 || y >= 1) return -1;
  const col = Math.floor(((placement.left + x * placement.width) * grid.cols) / grid.covered_width);
  const row = Math.floor(((placement.top + y * placement.height) * grid.rows) / grid.covered_height);
  const patch = row * grid.cols + col;
  return row < grid.rows && col < grid.cols && inside[patch] ? patch : -1;
}

export const mean = (items, value) => items.reduce((sum, one) => sum + value(one), 0) / items.length;

const clip = (share) => Math.min(1, Math.max(0, share));
