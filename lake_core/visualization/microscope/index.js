// The entry: hosts call the default export as Streamlit's components (v2) do; an HTML file does without the setter.

import { make } from "./dom.js";
import { Microscope } from "./microscope.js";
import { decode } from "./payload.js";

const instances = new WeakMap();

/**
 * Shows a payload in an element; called again with the same payload it keeps what was chosen.
 *
 * data: the blob, a Uint8Array. setTriggerValue("fix", {patch}) tells the patch that was fixed, null when it is let go;
 * setTriggerValue("open_neuron", {layer, neuron}) that a neuron's page is asked for.
 */
export default function microscope({ data, parentElement, setTriggerValue }) {
  const before = instances.get(parentElement);
  if (before && isEqual(before.data, data)) {
    before.host.setTriggerValue = setTriggerValue;
    return before.close;
  }
  before?.close();
  const host = { setTriggerValue };
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
  const images = [scored.image, scored.other, ...scored.normals];
  const [bitmap, other, ...normals] = await Promise.all(images.map((one) => one && bitmapOf(one.jpeg)));
  return { scored, bitmap, other, normals };
}
