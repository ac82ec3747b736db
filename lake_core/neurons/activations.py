"""Activations of many neurons on many images as a table, for other programs."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from lake_core.neurons.statistics import Tested, peaks, read_tests
from lake_core.types import Neurons, Progress, counted

if TYPE_CHECKING:
    from lake_core.detector.lake import Lake

_AT_ONCE = 16
"""Images."""


def neuron_activations(
    lake: "Lake",
    tests: Sequence[Tested] = (),
    neurons: Neurons | None = None,
    on_progress: Progress | None = None,
) -> pd.DataFrame:
    """The greatest activation of each neuron on each image, as the network has it: neither averaged nor scaled.

    It is the number that a neuron's AUROC in `neuron_table` is made of.

    Args:
        lake: A fitted detector.
        tests: Further images; an Example may bring its label.
        neurons: Of any layers that have the detector's site; None takes the selected ones.
        on_progress: Called with steps done and in all, each of a few images; may raise to cancel.
    Returns:
        A row for each normal image and then for each test image: path, split ("train" for normal images, else "test"),
        label ("good", "defective", or missing), and for each neuron a float32 column such as "layer15_neuron9", in the
        order given.
    Raises:
        BackboneError: if there is no such layer.
        ImageError: if an image cannot be read.
    """
    lake.fitted()
    chosen = {layer: one.neurons for layer, one in lake.selection_.items()} if neurons is None else neurons
    columns = {layer: np.asarray(of_layer, dtype=np.int64) for layer, of_layer in chosen.items()}
    hook_points = {layer: lake.backbone.hook_point(layer, lake.config.site) for layer in columns}
    read, labels = read_tests(tests)
    images = [*lake.normals_, *read]
    rows = [np.zeros((0, sum(map(len, columns.values()))), dtype=np.float32)]
    for start in counted(range(0, len(images), _AT_ONCE), on_progress):
        some = images[start : start + _AT_ONCE]
        lake.store.ensure(some, hook_points.values())
        found = [np.zeros((len(some), 0), dtype=np.float32)]
        for layer, of_layer in columns.items():
            acts_ipn, inside_ip = lake.store.patches(some, hook_points[layer]).numpy()
            found.append(peaks(acts_ipn[:, :, of_layer], inside_ip))
        rows.append(np.concatenate(found, axis=1))
    n_normals = len(lake.normals_)
    known = pd.DataFrame(
        {
            "path": [image.name for image in images],
            "split": ["train"] * n_normals + ["test"] * len(read),
            "label": ["good"] * n_normals + list(labels),
        }
    )
    names = [f"layer{layer}_neuron{neuron}" for layer, of_layer in columns.items() for neuron in of_layer.tolist()]
    return known.join(pd.DataFrame(np.concatenate(rows), columns=names))
