"""The files that come with the program, and the sample data sets among them."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from lake_core.data.datasets import Dataset, read_folder
from lake_core.data.folders import categories
from lake_core.errors import DatasetError, LakeError
from lake_core.version import METHOD_VERSION


@dataclass(frozen=True)
class SampleFacts:
    """What is known of a built-in sample beside its images.

    Attributes:
        title: What it shows.
        object_name: The object's name for the prompts.
        credit: Whose images these are, their licence and what was changed, in one line of Markdown; it is said wherever
            the sample is shown.
    """

    title: str
    object_name: str
    credit: str


@dataclass(frozen=True)
class MeasuredMethod:
    """Image AUROC of one method on a sample.

    Attributes:
        mean: Over random seeds.
        low, high: Of the 95% bootstrap interval of the mean, over test images and seeds.
        by_seed: One for each seed.
    """

    mean: float
    low: float
    high: float
    by_seed: tuple[float, ...]


@dataclass(frozen=True)
class MeasuredSample:
    """What the few-shot protocol gave on a sample when assets/samples/measured.json was written (`make measured`).

    Attributes:
        shots: Number of normal images.
        seeds: Of the choice of normal images and of random neurons.
        methods: Method of `lake evaluate` -> its image AUROC.
        border: Image AUROC, mean over seeds, without any model: how far the mean brightness of an image's border is
            from that of the same normal images. Near 1, light alone gives the defects away.
    """

    shots: int
    seeds: tuple[int, ...]
    methods: Mapping[str, MeasuredMethod]
    border: float


_OURS = "Rendered by this project, Apache-2.0."
_FACTS = {  # in the order on screen: real photographs first
    "hazelnut": SampleFacts(
        "Hazelnuts, photographed: paint",
        "hazelnut",
        "Photographs: [Hazelnut Toy](https://github.com/openvinotoolkit/anomalib/releases/tag/hazelnut_toy_dataset) by "
        "the anomalib authors, [CC BY 4.0](https://creativecommons.org/licenses/by/4.0/); selected and resized.",
    ),
    "deeppcb": SampleFacts(
        "Printed circuit boards, scanned: shorts, opens, spurs",
        "printed circuit board",
        "Scans: [DeepPCB](https://github.com/tangsanli5201/DeepPCB) by Tang et al., MIT licence; selected tiles.",
    ),
    "metal": SampleFacts("Machined flange: scratches, dents, rust", "metal flange", _OURS),
    "textile": SampleFacts("Woven cloth: holes, stains, misweaves", "woven fabric", _OURS),
    "gravel": SampleFacts(
        "Gravel: spills, mortar, foreign objects",
        "gravel",
        "One photograph by [CC0Textures](https://cc0textures.com/view.php?tex=Gravel04), CC0; damage rendered by this "
        "project.",
    ),
}


def assets_folder() -> Path:
    """`lake_core/assets` of an installed package, else `assets` beside the package in a checkout.

    Raises:
        LakeError: if there is neither.
    """
    package = Path(__file__).resolve().parents[1]
    for folder in (package / "assets", package.parent / "assets"):
        if folder.is_dir():
            return folder
    raise LakeError(f"The files that come with the program are missing from {package}: install it again.")


def samples_if_named(folder: Path) -> Path:
    """The folder of the built-in samples for the name `samples`, unless there is a folder of that name here."""
    return assets_folder() / "samples" if str(folder) == "samples" and not folder.exists() else folder


def sample_names() -> tuple[str, ...]:
    """The names of the built-in samples, real photographs first."""
    order = list(_FACTS)
    names = [folder.name for folder in categories(assets_folder() / "samples")]
    return tuple(sorted(names, key=lambda name: order.index(name) if name in order else len(order)))


def sample_facts(name: str) -> SampleFacts | None:
    """What is known of a built-in sample; None for any other name."""
    return _FACTS.get(name)


def measured_sample(name: str) -> MeasuredSample | None:
    """What was measured on a built-in sample; None where nothing was with this version of the method."""
    document = _measured(assets_folder() / "samples" / "measured.json")
    if document.get("method_version") != METHOD_VERSION or name not in document["samples"]:
        return None
    row = document["samples"][name]
    methods = {
        method: MeasuredMethod(found["mean"], found["low"], found["high"], tuple(found["by_seed"]))
        for method, found in row["image_auroc"].items()
    }
    return MeasuredSample(document["shots"], tuple(document["seeds"]), methods, row["border"])


def load_sample(name: str) -> Dataset:
    """Read a built-in sample.

    Raises:
        DatasetError: if there is none of that name.
    """
    if name not in sample_names():
        raise DatasetError(f"There is no sample '{name}': choose one of {', '.join(sample_names()) or '(none)'}.")
    return read_folder(assets_folder() / "samples" / name, name)


@cache
def _measured(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return found
