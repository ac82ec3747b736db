"""The few-shot protocol as a value: numbers of normal images, seeds, methods, and the names of the metrics."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product, starmap
from typing import Literal, NamedTuple, TypeAlias, get_args

import numpy as np

from lake_core.baselines import BASELINES
from lake_core.data.folders import Entry
from lake_core.errors import ConfigError, DatasetError
from lake_core.sentences import quantity

Method: TypeAlias = str
"""The name of a method, one of METHODS."""
DEFAULT_METHODS: tuple[Method, ...] = ("lake", "random", "all", "visual", "text")
METHODS: tuple[Method, ...] = (*DEFAULT_METHODS, *BASELINES)
Metric = Literal[
    "image_auroc",
    "image_ap",
    "image_f1_max",
    "pixel_auroc",
    "pixel_aupro",
    "pointing_game",
    "pointing_chance",
    "covered_auroc",
]
METRICS: tuple[Metric, ...] = get_args(Metric)
N_RANDOM_DRAWS = 5

CategoryProgress: TypeAlias = Callable[[str, int, int], None]
"""Called with a category, its images done and its images in all; it may raise to cancel."""


class MethodKey(NamedTuple):
    """A method with a number of normal images."""

    shots: int
    method: Method


class RunKey(NamedTuple):
    """A method with one choice of normal images."""

    shots: int
    seed: int
    method: Method


def seeded_order(n: int, seed: int) -> list[int]:
    """The order in which a seed takes n normal images; fewer shots are a subset of more."""
    return [int(i) for i in np.random.default_rng(seed).permutation(n)]


def choose_normals(entries: Sequence[Entry], seed: int) -> list[Entry]:
    """The normal images of a data set in the order in which a seed takes them."""
    normals = [entry for entry in entries if entry.role == "normal"]
    return [normals[i] for i in seeded_order(len(normals), seed)]


def labelled_tests(entries: Sequence[Entry]) -> list[Entry]:
    """The images that can be scored against the truth."""
    return [entry for entry in entries if entry.role == "test" and entry.label is not None]


def checked_methods(names: Sequence[str]) -> tuple[Method, ...]:
    """The methods of these names, without duplicates.

    Raises:
        ConfigError: if there is none, or one is unknown.
    """
    unknown = [name for name in names if name not in METHODS]
    if unknown or not names:
        raise ConfigError(f"methods is {', '.join(names) or 'empty'}; choose from {', '.join(METHODS)}.")
    return tuple(dict.fromkeys(names))


@dataclass(frozen=True)
class FewShotProtocol:
    """What is evaluated on every category; becomes tuples without duplicates.

    Attributes:
        shots: Numbers of normal images, each >= 1; become ascending.
        seeds: Seeds of the choice of normal images and of random neurons, each >= 0.
        methods: Methods to compare.
        pixel: Also compare maps with masks. Maps are interpolated over the image and compared at the size of the
            image reduced by the least whole factor that brings its longest side to MAX_PIXEL_SIDE or below; a
            reduced pixel is defect if any of its pixels is. Defective images without a mask are left out, and without
            any mask the pixel metrics are None.
        leakage_check: Also score all images with the defects covered, in a second pass; see
            `lake_core.evaluation.leakage`.
        turn_normals: Baselines whose papers do so (anomalydino, subspacead) also learn from the normal images turned
            by 90, 180 and 270 degrees, which takes three more passes of the network for each.

    Raises:
        ConfigError: if shots, seeds or methods are empty or hold a value that is not allowed.
    """

    shots: Sequence[int] = (4,)
    seeds: Sequence[int] = (0, 1, 2)
    methods: Sequence[Method] = DEFAULT_METHODS
    pixel: bool = True
    leakage_check: bool = False
    turn_normals: bool = False

    def __post_init__(self) -> None:
        if not self.shots or min(self.shots) < 1:
            raise ConfigError(f"shots is {list(self.shots)}; give whole numbers of normal images, at least 1 each.")
        if not self.seeds or min(self.seeds) < 0:
            raise ConfigError(f"seeds is {list(self.seeds)}; give whole numbers of at least 0.")
        object.__setattr__(self, "shots", tuple(sorted(set(self.shots))))
        object.__setattr__(self, "seeds", tuple(dict.fromkeys(self.seeds)))
        object.__setattr__(self, "methods", checked_methods(self.methods))

    @property
    def needs_masks(self) -> bool:
        return self.pixel or self.leakage_check

    def check(self, name: str, entries: Sequence[Entry]) -> None:
        """Checks that a category can be evaluated, before anything runs.

        Raises:
            DatasetError: if it has too few normal images or no labelled test image.
        """
        n_normal = sum(entry.role == "normal" for entry in entries)
        if not n_normal:
            raise DatasetError(f"{name} has no normal images: put some into train/good or normal.")
        if n_normal < self.shots[-1]:
            images = quantity(n_normal, "normal image")
            raise DatasetError(f"{name} has {images} and {self.shots[-1]} shots are asked for: ask for fewer.")
        if not labelled_tests(entries):
            raise DatasetError(f"{name} has no labelled test image: put them into test/good and test/<defect>.")

    def runs(self) -> Iterator[RunKey]:
        """Every method with every choice of normal images, in the order of the report."""
        return starmap(RunKey, product(self.shots, self.seeds, self.methods))

    def method_keys(self) -> Iterator[MethodKey]:
        """Every method with every number of normal images, in the order of the report."""
        return starmap(MethodKey, product(self.shots, self.methods))

    def detectors(self) -> list[tuple[Method, int]]:
        """LAKE's detectors to fit for one choice of normal images, each with the number of its random draw.

        The methods visual and text use the detector of lake.
        """
        found: list[tuple[Method, int]] = []
        if {"lake", "visual", "text"} & set(self.methods):
            found.append(("lake", 0))
        if "random" in self.methods:
            found.extend(("random", draw) for draw in range(N_RANDOM_DRAWS))
        if "all" in self.methods:
            found.append(("all", 0))
        return found

    @property
    def baselines(self) -> list[Method]:
        """The methods that are no variant of LAKE."""
        return [method for method in self.methods if method in BASELINES]
