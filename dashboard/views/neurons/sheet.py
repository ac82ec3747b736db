"""A neuron on one sheet, for papers and slides: its maps, its distribution and its place, as PNG or SVG."""

import io
from typing import Literal

import numpy as np
from matplotlib import rc_context
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from dashboard.views.neurons.view import NeuronView, flat
from lake_core.visualization.colours import ACTIVATION_COLOURS, SIGNED_COLOURS
from lake_core.visualization.overlays import Style, neuron_overlay

Form = Literal["png", "svg"]
N_COLUMNS, SIDE = 6, 360


def sheet(view: NeuronView, form: Form) -> bytes:
    """The test images with the highest scores, then normal ones, with the neuron's maps on one scale, and a histogram.

    Returns:
        A PNG at 150 dots per inch, or an SVG whose writing stays text.
    """
    tests, normals = view.tests_by_score[:N_COLUMNS], view.found.workspace.normals[:N_COLUMNS]
    rows = [(title, examples) for title, examples in (("test", tests), ("normal", normals)) if examples]
    figure = Figure(figsize=(2.1 * N_COLUMNS, 2.5 * len(rows) + 2.6), layout="constrained")
    FigureCanvasAgg(figure)
    parts = figure.add_gridspec(2, 1, height_ratios=(2.5 * len(rows), 2.6))
    maps = figure.add_subfigure(parts[0])
    below = figure.add_subfigure(parts[1])
    backbone = view.found.lake.backbone
    axes = np.atleast_2d(maps.subplots(len(rows), N_COLUMNS))
    for line, (title, examples) in zip(axes, rows, strict=True):
        for axis in line:
            axis.set_axis_off()
        for axis, example in zip(line, examples, strict=False):
            own = view.value_on(example)
            placement = backbone.placement(example.image)
            axis.imshow(neuron_overlay(example.image, own, view.grid, placement, view.scale, Style(0.7, max_side=SIDE)))
            axis.set_title(f"{title}: {example.image.name}\nmax {np.nanmax(own):.2f}", fontsize=7, parse_math=False)
    colours = SIGNED_COLOURS if view.scale.is_signed else ACTIVATION_COLOURS
    scale = ScalarMappable(Normalize(view.scale.low, view.scale.limit), colours)
    maps.colorbar(scale, ax=axes.ravel().tolist(), label="activation", shrink=0.7)
    axis = below.subplots()
    for name, values, line in (("normal", view.normals, "-"), ("test", view.tests, ":")):
        own = flat(values)
        if len(own):
            weights = np.full(len(own), 100 / len(own))
            axis.hist(own, bins=60, weights=weights, histtype="step", linestyle=line, label=f"{name} patches", log=True)
    axis.set(xlabel="activation", ylabel="% of patches (log)")
    axis.legend(frameon=False)
    selection, spec = view.selection, backbone.spec
    figure.suptitle(
        f"{spec} · layer {selection.layer} · {selection.site} neuron {view.neuron} · "
        f"rank {selection.rank_of(view.neuron)} of {selection.n_neurons} by {selection.criterion}",
        fontsize=10,
        parse_math=False,
    )
    buffer = io.BytesIO()
    with rc_context({"svg.fonttype": "none"}):
        figure.savefig(buffer, format=form, dpi=150)
    return buffer.getvalue()
