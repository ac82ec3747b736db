// The entry: hosts call the default export as Streamlit's components (v2) do; an HTML file does without the setter.

import { make } from "./dom.js";
import { Microscope } from "./microscope.js";
import { decode } from "./payload.js";

const instances = new WeakMap();

/**
 * Shows a payload in an element; called again with the same payload it changes nothing, and with another one it keeps
 * what was chosen as far as that is there, too.
 *
 * data: the blob, a Uint8Array. setTriggerValue("fix", {patch}) tells the patch that was fixed, null when it is let go;
 * setTriggerValue("open_neuron", {layer, neuron}) that a neuron's page is asked for.
 */
export default function microscope({ data, parentElement, setTriggerValue }) {
  let shown = instances.get(parentElement);
  if (!shown) {
    shown = { host: {}, data: new Uint8Array(), view: null };
    instances.set(parentElement, shown);
  }
  shown.host.setTriggerValue = setTriggerValue;
  if (!isEqual(shown.data, data)) {
    shown.data = data;
    load(data).then((loaded) => {
      if (shown.data === data && instances.get(parentElement) === shown) show(shown, loaded, parentElement);
    });
  }
  return () => {
    instances.delete(parentElement);
    remove(shown.view);
  };
}

/** Puts the new view in the place of the one before, which stays until then. */
function show(shown, loaded, parent) {
  const kept = shown.view?.choices();
  const focused = shown.view?.root.contains(focusOf(parent)) ? focusOf(parent).className : "";
  const root = make("div", { class: "microscope" });
  remove(shown.view);
  parent.append(root);
  shown.view = new Microscope(root, loaded, shown.host, kept);
  if (focused) root.getElementsByClassName(focused)[0]?.focus({ preventScroll: true });
}

function remove(view) {
  view?.close();
  view?.root.remove();
}

const focusOf = (parent) => parent.getRootNode().activeElement;

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
