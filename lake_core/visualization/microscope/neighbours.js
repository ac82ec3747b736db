// This patch beside the nearest normal patch of every layer, each with its surroundings.

import { make, say, sharp } from "./dom.js";
import { allLayers } from "./layers.js";
import { boxOf, nearestNormal } from "./payload.js";

const CONTEXT = 5;

/** A row of crops: first this patch, then for each layer the normal patch nearest to it. */
export class Neighbours {
  constructor(scored, bitmap, normalBitmaps) {
    this.scored = scored;
    this.bitmap = bitmap;
    this.normalBitmaps = normalBitmaps;
    this.here = crop("this patch", "");
    const inOrder = [...scored.layers.keys()].sort((a, b) => scored.layers[b].in_score - scored.layers[a].in_score || a - b);
    this.normals = inOrder.map((i) => ({ layer: scored.layers[i], ...crop(`layer ${scored.layers[i].layer}`, "") }));
    this.side = allLayers(scored).length > 1 ? 88 : 116;
    const figures = [this.here, ...this.normals].map((one) => one.element);
    this.element = make("div", { class: "ms-crops", tabindex: "0", role: "group", "aria-label": "This patch and its nearest normal patches" }, ...figures);
  }

  /** Of several patches, the one with the highest value. */
  draw(patches) {
    const { grid, image, maps } = this.scored;
    const patch = patches.reduce((best, one) => (maps.score[one] > maps.score[best] ? one : best));
    say(this.here.note, patches.length > 1 ? "highest of these" : "");
    drawCrop(this.here.canvas, this.bitmap, boxOf(grid, image.placement, patch), this.side);
    for (const one of this.normals) {
      const { image: i, box } = nearestNormal(this.scored, one.layer, patch);
      const { name } = this.scored.normals[i];
      say(one.note, name.split("/").at(-1));
      one.note.title = name;
      drawCrop(one.canvas, this.normalBitmaps[i], box, this.side);
    }
  }
}

function crop(title, text) {
  const canvas = make("canvas", { "aria-hidden": "true" });
  const note = make("span", { class: "ms-small" }, text);
  return { canvas, note, element: make("figure", {}, canvas, make("figcaption", {}, make("span", {}, title), note)) };
}

/** The surroundings of a box, moved inwards at the image's border, with the box marked. */
function drawCrop(canvas, bitmap, box, side) {
  const context = sharp(canvas, side, side);
  if (!bitmap) return;
  const [w, h] = [bitmap.width, bitmap.height];
  const [left, top, right, bottom] = [box.left * w, box.top * h, box.right * w, box.bottom * h];
  const reach = Math.min(CONTEXT * Math.max(right - left, bottom - top), w, h);
  const x = Math.min(Math.max((left + right - reach) / 2, 0), w - reach);
  const y = Math.min(Math.max((top + bottom - reach) / 2, 0), h - reach);
  const zoom = side / reach;
  context.drawImage(bitmap, x, y, reach, reach, 0, 0, side, side);
  const frame = [(left - x) * zoom, (top - y) * zoom, (right - left) * zoom, (bottom - top) * zoom];
  for (const [colour, width] of [["#000", 4], ["#fff", 2]]) {
    context.strokeStyle = colour;
    context.lineWidth = width;
    context.strokeRect(...frame);
  }
}
