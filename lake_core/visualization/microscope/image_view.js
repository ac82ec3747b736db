// The image with its map: drawing, and choosing a patch or a region with the pointer or the keyboard.

import { paint } from "./colours.js";
import { fixed, make, sharp } from "./dom.js";
import { boxOf, patchAt } from "./payload.js";

/** The image's stage. `on` is told of: hover(patch), leave(), fix(patch), region(patches), regionEnds(). */
export class ImageView {
  constructor(scored, bitmap, maxHeight, on) {
    this.scored = scored;
    this.maxHeight = maxHeight;
    this.bitmap = bitmap;
    this.on = on;
    this.layers = ["image", "map", "marks"].map((name) => make("canvas", { class: `ms-${name}`, "aria-hidden": "true" }));
    this.stage = make(
      "div",
      { class: "ms-stage", tabindex: "0", role: "application", "aria-roledescription": "image with patches" },
      ...this.layers,
    );
    this.element = make("div", { class: "ms-frame" }, this.stage);
    this.listen();
  }

  /** Fits the stage into its frame and draws the image. */
  fit() {
    const { width, height } = this.scored.image;
    const scale = Math.min(this.element.clientWidth / width, this.maxHeight / height);
    this.width = Math.round(width * scale);
    this.height = Math.round(height * scale);
    this.stage.style.width = `${this.width}px`;
    this.stage.style.height = `${this.height}px`;
    const context = sharp(this.layers[0], this.width, this.height);
    context.imageSmoothingQuality = "high";
    context.drawImage(this.bitmap, 0, 0, this.width, this.height);
    this.grey = greyCopy(this.layers[0]);
  }

  /** Draws a map over the image; with a threshold, a line around the patches above it. `on` has the map's grid. */
  drawMap(values, scale, opacity, threshold, on = this.scored) {
    const context = sharp(this.layers[1], this.width, this.height);
    const { colours, cover } = tiles(on, values, scale);
    const [x, y, width, height] = this.coveredArea(on.grid);
    context.globalAlpha = opacity;
    context.drawImage(cover, x, y, width, height);
    context.globalAlpha = 1;
    context.globalCompositeOperation = "source-in";
    context.drawImage(this.grey, 0, 0, this.width, this.height);
    context.globalCompositeOperation = "source-over";
    context.globalAlpha = opacity;
    context.drawImage(colours, x, y, width, height);
    context.globalAlpha = 1;
    if (threshold !== null) this.drawContour(context, threshold);
  }

  /** A line between patches whose score is above the threshold and those whose score is not. */
  drawContour(context, threshold) {
    const { grid, inside, maps } = this.scored;
    const above = (row, col) => {
      const patch = row * grid.cols + col;
      return row >= 0 && col >= 0 && row < grid.rows && col < grid.cols && inside[patch] && maps.score[patch] > threshold;
    };
    const path = new Path2D();
    for (let row = 0; row < grid.rows; row += 1) {
      for (let col = 0; col < grid.cols; col += 1) {
        if (!above(row, col)) continue;
        const { left, top, right, bottom } = this.pixels(boxOf(grid, this.scored.image.placement, row * grid.cols + col));
        const edges = [
          [above(row - 1, col), left, top, right, top],
          [above(row + 1, col), left, bottom, right, bottom],
          [above(row, col - 1), left, top, left, bottom],
          [above(row, col + 1), right, top, right, bottom],
        ];
        for (const [isInner, x1, y1, x2, y2] of edges) {
          if (isInner) continue;
          path.moveTo(x1, y1);
          path.lineTo(x2, y2);
        }
      }
    }
    context.lineCap = "square";
    stroke(context, path, "#000", 3.5);
    stroke(context, path, "#fff", 1.5);
  }

  /** Marks the chosen patches and their value. */
  drawMarks(patches, value, isFixed) {
    const context = sharp(this.layers[2], this.width, this.height);
    const boxes = patches.map((patch) => this.pixels(boxOf(this.scored.grid, this.scored.image.placement, patch)));
    const chosen = new Set(patches);
    const path = new Path2D();
    for (const [i, box] of boxes.entries()) outline(path, box, patches[i], chosen, this.scored.grid);
    context.lineCap = "square";
    stroke(context, path, "#000", 6);
    stroke(context, path, isFixed ? "#ffd84d" : "#fff", 3);
    tag(context, boxes[0], fixed(value, 2), this.width);
  }

  pixels(box) {
    const [w, h] = [this.width, this.height];
    return { left: box.left * w, top: box.top * h, right: box.right * w, bottom: box.bottom * h };
  }

  /** (x, y, width, height) of the grid's area on the stage. */
  coveredArea(grid) {
    const { placement } = this.scored.image;
    const [x, y] = [this.width / placement.width, this.height / placement.height];
    return [-placement.left * x, -placement.top * y, grid.covered_width * x, grid.covered_height * y];
  }

  patchUnder(event) {
    const area = this.stage.getBoundingClientRect();
    return patchAt(this.scored, (event.clientX - area.left) / area.width, (event.clientY - area.top) / area.height);
  }

  listen() {
    let start = null;
    this.stage.addEventListener("pointerdown", (event) => {
      if (event.button !== 0) return;
      start = this.patchUnder(event);
      if (start >= 0 && event.pointerType === "mouse") this.stage.setPointerCapture(event.pointerId);
    });
    this.stage.addEventListener("pointermove", (event) => {
      const patch = this.patchUnder(event);
      if (patch < 0) return;
      if (event.buttons && start !== null && start >= 0 && patch !== start) this.on.region(this.between(start, patch));
      else if (!event.buttons) this.on.hover(patch);
    });
    this.stage.addEventListener("pointerup", (event) => {
      const patch = this.patchUnder(event);
      if (patch >= 0 && patch === start) this.on.fix(patch);
      else if (start !== null && start >= 0) this.on.regionEnds();
      start = null;
    });
    this.stage.addEventListener("pointercancel", () => (start = null));
    this.stage.addEventListener("pointerleave", () => this.on.leave());
    this.stage.addEventListener("keydown", (event) => this.onKey(event));
    this.stage.addEventListener("keyup", (event) => event.key.startsWith("Arrow") && this.on.stepEnds());
  }

  onKey(event) {
    const steps = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };
    if (event.key in steps) this.on.step(...steps[event.key], event.shiftKey);
    else if (event.key === "Enter" || event.key === " ") this.on.fix(null);
    else return;
    event.preventDefault();
  }

  /** The patches on the image in the rectangle between two patches, row by row. */
  between(first, last) {
    const { grid, inside } = this.scored;
    const [rows, cols] = [[first, last].map((one) => Math.floor(one / grid.cols)), [first, last].map((one) => one % grid.cols)];
    const patches = [];
    for (let row = Math.min(...rows); row <= Math.max(...rows); row += 1) {
      for (let col = Math.min(...cols); col <= Math.max(...cols); col += 1) {
        if (inside[row * grid.cols + col]) patches.push(row * grid.cols + col);
      }
    }
    return patches;
  }
}

/** A map as two small canvases with a pixel for each patch: its colours, and how much each covers the image. */
function tiles(scored, values, scale) {
  const { cols, rows } = scored.grid;
  const colours = new ImageData(cols, rows);
  const cover = new ImageData(cols, rows);
  for (let patch = 0; patch < cols * rows; patch += 1) {
    if (!scored.inside[patch]) continue;
    paint(scale, values[patch], colours.data, 4 * patch);
    const alpha = Math.round(255 * scale.cover(values[patch]));
    colours.data[4 * patch + 3] = alpha;
    cover.data[4 * patch + 3] = alpha;
  }
  return { colours: canvasOf(colours), cover: canvasOf(cover) };
}

function canvasOf(data) {
  const canvas = make("canvas", { width: data.width, height: data.height });
  canvas.getContext("2d").putImageData(data, 0, 0);
  return canvas;
}

/** The image without its hues, so that they do not mix with the map's. */
function greyCopy(canvas) {
  const { width, height } = canvas;
  const context = make("canvas", { width, height }).getContext("2d", { willReadFrequently: true });
  context.drawImage(canvas, 0, 0);
  const copy = context.getImageData(0, 0, width, height);
  const { data } = copy;
  for (let at = 0; at < data.length; at += 4) {
    data[at] = data[at + 1] = data[at + 2] = 0.299 * data[at] + 0.587 * data[at + 1] + 0.114 * data[at + 2];
  }
  return canvasOf(copy);
}

/** Adds those edges of a patch's box that no other chosen patch shares. */
function outline(path, { left, top, right, bottom }, patch, chosen, grid) {
  const col = patch % grid.cols;
  const edges = [
    [chosen.has(patch - grid.cols), left, top, right, top],
    [chosen.has(patch + grid.cols), left, bottom, right, bottom],
    [col > 0 && chosen.has(patch - 1), left, top, left, bottom],
    [col < grid.cols - 1 && chosen.has(patch + 1), right, top, right, bottom],
  ];
  for (const [isInner, x1, y1, x2, y2] of edges) {
    if (isInner) continue;
    path.moveTo(x1, y1);
    path.lineTo(x2, y2);
  }
}

function stroke(context, path, colour, width) {
  context.strokeStyle = colour;
  context.lineWidth = width;
  context.stroke(path);
}

/** A value on a dark tag above a box, or below where there is no room. */
function tag(context, box, text, width) {
  context.font = "600 13px system-ui, sans-serif";
  const [w, h] = [context.measureText(text).width + 12, 20];
  const x = Math.min(Math.max(0, (box.left + box.right - w) / 2), width - w);
  const y = box.top - h - 5 >= 0 ? box.top - h - 5 : box.bottom + 5;
  context.fillStyle = "rgba(10, 14, 20, 0.88)";
  context.beginPath();
  context.roundRect(x, y, w, h, 4);
  context.fill();
  context.fillStyle = "#fff";
  context.textBaseline = "middle";
  context.fillText(text, x + 6, y + h / 2 + 0.5);
}

/** A smaller copy of an image, quick to draw. */
export function shrunk(bitmap, side) {
  const zoom = Math.min(1, side / Math.max(bitmap.width, bitmap.height));
  const canvas = make("canvas", {});
  const context = sharp(canvas, Math.round(bitmap.width * zoom), Math.round(bitmap.height * zoom));
  context.imageSmoothingQuality = "high";
  context.drawImage(bitmap, 0, 0, Math.round(bitmap.width * zoom), Math.round(bitmap.height * zoom));
  return canvas;
}

/** A small image with a map over it. */
export function miniature(canvas, scored, bitmap, values, scale, side) {
  const { width, height, placement } = scored.image;
  const zoom = side / Math.max(width, height);
  const [w, h] = [width * zoom, height * zoom];
  const context = sharp(canvas, w, h);
  context.drawImage(bitmap, 0, 0, w, h);
  const [x, y] = [w / placement.width, h / placement.height];
  const { colours } = tiles(scored, values, scale);
  context.globalAlpha = 0.85;
  context.drawImage(colours, -placement.left * x, -placement.top * y, scored.grid.covered_width * x, scored.grid.covered_height * y);
  context.globalAlpha = 1;
}
