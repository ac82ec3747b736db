"""One scored image as one blob of bytes, which the microscope in the browser reads.

The blob, little-endian throughout:

- 4 bytes, uint32: length n of the header;
- n bytes: the header, JSON in UTF-8, filled up with spaces so that what follows begins at a multiple of 8;
- the sections, one after the other, each filled up to a multiple of 8. `header["sections"][name]` is
  [offset after the header, length in bytes, kind], where the kind is "u1", "u2", "u4", "f4", "f8" or "jpeg".

Sections of the image, over the patches of the fused grid: `inside` u1, `score`, `visual` and, where there is a text
part, `text` f4; `image` and `normal.<i>` are JPEG files. Sections of layer i of `header["layers"]`, for n patches and k
listed neurons:

- `<i>.difference` (n, k) f4: activation here minus activation in the nearest normal patch. A neuron adds
  difference^2 / tau * weight, which is exactly what `ImageResult.contributions` says;
- `<i>.here` (n, k) u2 with `<i>.low` and `<i>.step` (k,) f8: activation here = low + step * number, true to
  half a step, which is 1/131070 of the neuron's range;
- `<i>.map` (n_own_patches,) f4: the layer's own map on its own grid; NaN off the image;
- `<i>.rest` (n,) f4: the sum of difference^2 / tau over the selected neurons that are not listed;
- `<i>.other` (n, k) u1 with `<i>.other_low` and `<i>.other_step` (k,) f8: the same for the second image, where there is
  one and it fits; its JPEG file is `other.image`, and `other.inside` u1 tells which patches lie on it;
- `<i>.patch`, `<i>.normal_image`, `<i>.normal_patch` (n,), `<i>.under` (n_patches,), as in `LayerView`: u2, or u4
  where a number is greater than 65535.
"""

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from PIL import Image

from lake_core.data.images import InputImage
from lake_core.visualization.microscope.view import LayerView, NeuronNote, PlacedImage, ScoredImage
from lake_core.visualization.overlays import thumbnail

VERSION = 2
MAX_BYTES = 1_500_000
"""Of a blob that lists all neurons."""
MAX_BYTES_OF_A_SELECTION = 1_950_000
"""Of a blob that cannot: it lists those that add most."""
MAX_NORMALS = 48
"""Normal images that are sent as images: those whose patches are nearest most often."""

N_FIRST = 5
"""Most sensitive neurons that are named even where they are not listed."""

_FEWEST_BYTES_FOR_IMAGES = 60_000
_IMAGES = (
    (640, 512, 88),
    (512, 384, 85),
    (448, 320, 80),
    (384, 256, 72),
    (320, 192, 65),
    (256, 128, 55),
    (160, 80, 40),
)
"""(longest side of the image, of normal images, JPEG quality), best first."""
_OTHER_SIDE = 256
_KINDS = {np.dtype(name): name[1:] for name in ("<u2", "<u4", "<f4", "<f8")} | {np.dtype(np.uint8): "u1"}

Section = tuple[str, bytes]
"""Kind and bytes."""


def encode(scored: ScoredImage) -> bytes:
    """The blob of a scored image.

    A second image is left out where there is no room for it beside all neurons of the score's layers. Where all neurons
    would take too much room, each layer lists those that add most anywhere on the image, those outside of the score
    fewer, and the others are summed up exactly as "the rest".

    Args:
        scored: What is to be shown.
    """
    fixed, other = _maps(scored), _other_sections(scored)
    whole = [(layer.in_score, _bytes_of_layer(layer, len(layer.neurons))) for layer in scored.layers]
    in_score = sum(n_bytes for is_in_score, n_bytes in whole if is_in_score)
    if _n_bytes(fixed) + in_score + _n_bytes(other) <= MAX_BYTES - _FEWEST_BYTES_FOR_IMAGES:
        fixed |= other
    room = MAX_BYTES - _n_bytes(fixed) - sum(n_bytes for _, n_bytes in whole)
    max_bytes = MAX_BYTES if room >= _FEWEST_BYTES_FOR_IMAGES else MAX_BYTES_OF_A_SELECTION
    fixed |= _images(scored, max(room, _FEWEST_BYTES_FOR_IMAGES))
    listed = [_listed(layer, scored.inside, n) for layer, n in _lengths(scored.layers, max_bytes - _n_bytes(fixed))]
    sections = dict(fixed)
    for number, (layer, columns) in enumerate(zip(scored.layers, listed, strict=True)):
        sections |= _layer_sections(number, layer, columns)
    return _joined(_header(scored, listed, "other.image" in sections), sections)


def _maps(scored: ScoredImage) -> dict[str, Section]:
    maps = {"score": scored.score_map, "visual": scored.visual_map}
    if scored.text_map is not None:
        maps["text"] = scored.text_map
    return {"inside": _section(scored.inside, np.uint8)} | {
        name: _section(values, "<f4") for name, values in maps.items()
    }


def _other_sections(scored: ScoredImage) -> dict[str, Section]:
    """The second image and its neurons' activations, in the order of the layers' neurons; empty where there is none."""
    other = scored.other
    if other is None:
        return {}
    sections = {
        "other.image": ("jpeg", _jpeg(other.shown.image, _OTHER_SIDE, 80)),
        "other.inside": _section(other.inside, np.uint8),
    }
    for number, layer in enumerate(scored.layers):
        if layer.layer in other.activations:
            numbers, low, step = _quantised(other.activations[layer.layer], 255)
            sections |= {
                f"{number}.other": _section(numbers, np.uint8),
                f"{number}.other_low": _section(low, "<f8"),
                f"{number}.other_step": _section(step, "<f8"),
            }
    return sections


def _quantised(values: np.ndarray, most: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Columns as whole numbers from 0 to `most`: values = low + step * numbers, true to half a step."""
    exact = values.astype(np.float64)
    low = exact.min(axis=0)
    step = (exact.max(axis=0) - low) / most
    return np.rint((exact - low) / np.where(step > 0, step, 1)), low, step


def _images(scored: ScoredImage, max_bytes: int) -> dict[str, Section]:
    """The image, and the normal images that have a nearest patch, as good as they fit."""
    nearest = np.concatenate([layer.normal_image for layer in scored.layers])
    n_times = np.bincount(nearest.astype(np.int64), minlength=len(scored.normals))
    order = [int(i) for i in np.argsort(-n_times, kind="stable")[:MAX_NORMALS] if n_times[i]]
    sections: dict[str, Section] = {}
    for side, normal_side, quality in _IMAGES:
        sections = {"image": ("jpeg", _jpeg(scored.shown.image, side, quality))}
        sections |= {
            f"normal.{i}": ("jpeg", _jpeg(scored.normals[i].image, normal_side, quality)) for i in sorted(order)
        }
        if _n_bytes(sections) <= max_bytes:
            break
    return sections


def _lengths(layers: Sequence[LayerView], max_bytes: int) -> list[tuple[LayerView, int]]:
    """How many neurons of each layer are listed: all, or as many as fit, those of layers in the score first."""
    least = sum(_bytes_of_layer(layer, 1) for layer in layers if not layer.in_score)
    most = _most([layer for layer in layers if layer.in_score], max_bytes - least)
    used = sum(_bytes_of_layer(layer, min(most, len(layer.neurons))) for layer in layers if layer.in_score)
    most_outside = _most([layer for layer in layers if not layer.in_score], max_bytes - used)
    return [(layer, min(most if layer.in_score else most_outside, len(layer.neurons))) for layer in layers]


def _most(layers: Sequence[LayerView], max_bytes: int) -> int:
    """How many neurons of each of these layers fit."""
    longest = max((len(layer.neurons) for layer in layers), default=1)
    fits = (
        n
        for n in range(longest, 0, -1)
        if sum(_bytes_of_layer(layer, min(n, len(layer.neurons))) for layer in layers) <= max_bytes
    )
    return next(fits, 1)


def _listed(layer: LayerView, inside: np.ndarray, n: int) -> np.ndarray:
    """(n,) int64: the columns of the neurons that add most at any patch on the image, in the layer's own order."""
    if n == len(layer.neurons):
        return np.arange(n)
    most = np.abs(layer.difference[np.unique(layer.under[inside])]).max(axis=0)
    return np.sort(np.argsort(-most, kind="stable")[:n])


def _layer_sections(number: int, layer: LayerView, columns: np.ndarray) -> dict[str, Section]:
    numbers, low, step = _quantised(layer.here[:, columns], 65535)
    others = np.setdiff1d(np.arange(len(layer.neurons)), columns)
    rest = (layer.difference[:, others].astype(np.float64) ** 2).sum(axis=1) / layer.tau
    arrays = {
        "difference": (layer.difference[:, columns], "<f4"),
        "here": (numbers, "<u2"),
        "low": (low, "<f8"),
        "step": (step, "<f8"),
        "map": (layer.own_map, "<f4"),
        "rest": (rest, "<f4"),
        "patch": (layer.patches, _index_kind(layer.patches)),
        "normal_image": (layer.normal_image, _index_kind(layer.normal_image)),
        "normal_patch": (layer.normal_patch, _index_kind(layer.normal_patch)),
        "under": (layer.under, _index_kind(layer.under)),
    }
    return {f"{number}.{name}": _section(values, kind) for name, (values, kind) in arrays.items()}


def _bytes_of_layer(layer: LayerView, n_listed: int) -> int:
    """Bytes of a layer's sections, and about as many as its part of the header takes."""
    n, n_fused, header = len(layer.patches), len(layer.under), 1200
    index = 2 if max(n_fused, layer.grid.n_patches) <= 2**16 else 4
    maps = 4 * len(layer.own_map) + n_fused * index
    return n * n_listed * (4 + 2) + n_listed * (8 + 8 + 12) + n * (4 + 3 * index) + maps + header


def _header(scored: ScoredImage, listed: Sequence[np.ndarray], has_other: bool) -> dict[str, Any]:
    other = scored.other if has_other else None
    return {
        "version": VERSION,
        "image": _image_header(scored.shown),
        "grid": asdict(scored.grid),
        "score": scored.score,
        "threshold": scored.threshold,
        "is_anomalous": scored.is_anomalous,
        "fusion_weight": scored.fusion_weight,
        "patches": scored.patches.tolist(),
        "fixed": scored.fixed,
        "other": other and {**_image_header(other.shown), "score": other.score, "is_anomalous": other.is_anomalous},
        "vmax": scored.vmax,
        "value_of_one": scored.value_of_one,
        "activation": scored.activation,
        "pending": list(scored.pending),
        "layers": [
            _layer_header(layer, columns, scored.notes) for layer, columns in zip(scored.layers, listed, strict=True)
        ],
        "normals": [_image_header(normal) for normal in scored.normals],
    }


def _image_header(placed: PlacedImage) -> dict[str, Any]:
    image = placed.image
    return {"name": image.name, "width": image.width, "height": image.height, "placement": asdict(placed.placement)}


def _layer_header(layer: LayerView, columns: np.ndarray, notes: Mapping[tuple[int, int], NeuronNote]) -> dict[str, Any]:
    neurons = layer.neurons[columns].tolist()
    known = {neuron: notes[layer.layer, neuron]._asdict() for neuron in neurons if (layer.layer, neuron) in notes}
    return {
        "layer": layer.layer,
        "in_score": layer.in_score,
        "tau": layer.tau,
        "weight": layer.weight,
        "grid": asdict(layer.grid),
        "neurons": neurons,
        "ranks": layer.ranks[columns].tolist(),
        "n_neurons": layer.n_neurons,
        "first": layer.neurons[:N_FIRST].tolist(),
        "n_rest": len(layer.neurons) - len(columns),
        "notes": known,
    }


def _joined(header: Mapping[str, Any], sections: Mapping[str, Section]) -> bytes:
    table, offset = {}, 0
    for name, (kind, data) in sections.items():
        table[name] = (offset, len(data), kind)
        offset += _filled(len(data))
    text = json.dumps(
        {**header, "sections": table}, ensure_ascii=False, separators=(",", ":"), allow_nan=False
    ).encode()
    text += b" " * (_filled(len(text) + 4) - len(text) - 4)
    parts = [len(text).to_bytes(4, "little"), text]
    parts += [data.ljust(_filled(len(data)), b"\0") for _, data in sections.values()]
    return b"".join(parts)


def _section(values: np.ndarray, kind: Any) -> Section:
    array = np.ascontiguousarray(values, dtype=kind)
    return _KINDS[array.dtype], array.tobytes()


def _index_kind(values: np.ndarray) -> str:
    return "<u2" if values.max() < 2**16 else "<u4"


def _jpeg(image: InputImage, side: int, quality: int) -> bytes:
    file = io.BytesIO()
    small: Image.Image = thumbnail(image, side)
    small.save(file, "JPEG", quality=quality)
    return file.getvalue()


def _n_bytes(sections: Mapping[str, Section]) -> int:
    return sum(_filled(len(data)) for _, data in sections.values())


def _filled(length: int) -> int:
    """The next multiple of 8."""
    return -(-length // 8) * 8
