"""The microscope without a server: one HTML file, and what a notebook shows."""

import base64
import html
import io
import re
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image

from lake_core.visualization.colours import ScoreScale
from lake_core.visualization.microscope.view import LayerView, ScoredImage
from lake_core.visualization.overlays import Style, overlay

_HERE = Path(__file__).parent
_MODULES = (
    "payload",
    "dom",
    "colours",
    "controls",
    "image_view",
    "decomposition",
    "layers",
    "matrix",
    "neurons",
    "neighbours",
    "table",
    "story",
    "layout",
    "microscope",
    "index",
)
"""In an order in which each stands behind those that it needs."""
_IMPORT = re.compile(r'^import [^;]* from "\./\w+\.js";\n', re.MULTILINE)
_EXPORT = re.compile(r"^export (?!default)", re.MULTILINE)
_STILL_SIDE = 384


@cache
def script() -> str:
    """All modules as one ES module, with the default export of index.js; names are unique among them."""
    parts = [(_HERE / f"{name}.js").read_text(encoding="utf-8") for name in _MODULES]
    return "\n".join(_EXPORT.sub("", _IMPORT.sub("", part)) for part in parts)


@cache
def style() -> str:
    """The style sheet; all its rules are below the class `microscope`."""
    return (_HERE / "style.css").read_text(encoding="utf-8")


def page(blob: bytes, title: str) -> str:
    """A whole HTML document that shows a payload; it needs no other file and no network.

    Args:
        blob: From `payload.encode`.
        title: Of the document; any text.
    """
    policy = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'"
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<title>{html.escape(title)}</title>
<style>
body {{ margin: 0; padding: 14px 20px; background: #ffffff; }}
@media screen and (prefers-color-scheme: dark) {{ body {{ background: #12171d; }} }}
@media (max-width: 620px) {{ body {{ padding: 12px 14px; }} }}
@page {{ margin: 12mm; }}
@media print {{ body {{ padding: 0; background: #ffffff; }} }}
{style()}</style>
</head>
<body>
<main id="microscope"></main>
<noscript>This page draws with JavaScript; allow it to see the image.</noscript>
<script type="text/plain" id="payload">{base64.b64encode(blob).decode()}</script>
<script type="module">
{script()}
const text = document.getElementById("payload").textContent;
const data = Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
microscope({{ data, parentElement: document.getElementById("microscope") }});
</script>
</body>
</html>
"""


def notebook(scored: ScoredImage, document: str) -> str:
    """What a notebook shows: the document in a frame, and where frames and styles are not trusted a still image.

    Args:
        scored: For the still image and its numbers.
        document: From `page`.
    """
    return (
        "<style>.lake-result:has(iframe) .lake-still { display: none; }</style>"
        f'<div class="lake-result"><div class="lake-still">{_still(scored)}</div>'
        f'<iframe title="Microscope" style="width: 100%; height: 900px; border: 0" srcdoc="{html.escape(document)}">'
        "</iframe></div>"
    )


def _still(scored: ScoredImage) -> str:
    """The map over the image, and what the score is made of."""
    image, placement = scored.shown
    scale = ScoreScale(scored.vmax, scored.threshold)
    drawn = overlay(image, scored.score_map, scored.grid, placement, scale, Style(max_side=_STILL_SIDE))
    side = "above" if scored.is_anomalous else "not above"
    in_score = [layer for layer in scored.layers if layer.in_score]
    rows = [(f"visual, layer {layer.layer}", _layer_part(layer, scored.patches)) for layer in in_score]
    if scored.text_map is not None:
        rows.append(("text", scored.fusion_weight * float(scored.text_map[scored.patches].mean())))
    rows += [("score", scored.score), ("threshold", scored.threshold)]
    cells = "".join(f"<tr><th>{name}</th><td>{value:.3f}</td></tr>" for name, value in rows)
    name = html.escape(image.name)
    return (
        f'<img alt="{name} with its score map" src="data:image/png;base64,{_png(drawn)}">'
        f"<p>{name}: score {scored.score:.2f}, {side} the threshold {scored.threshold:.2f}</p><table>{cells}</table>"
    )


def _layer_part(layer: LayerView, patches: np.ndarray) -> float:
    """What a layer adds to the mean value of some patches."""
    squares = layer.difference[layer.under[patches]].astype(np.float64) ** 2
    return float(squares.sum(axis=1).mean() / layer.tau * layer.weight)


def _png(image: Image.Image) -> str:
    file = io.BytesIO()
    image.save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()
