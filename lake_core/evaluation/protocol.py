"""What an evaluation is asked for: methods, numbers and choices of normal images; and the names of what comes out."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_args

import numpy as np

from lake_core.data.folders import Entry
from lake_core.errors import ConfigError, DatasetError

Method = Literal["lake", "random", "all", "visual", "text"]
METHODS: tuple[Method, ...] = get_args(Method)
METRICS = ("image_auroc", "image_ap", "image_f1_max", "pixel_auroc", "pixel_aupro")
N_RANDOM_DRAWS = 5

Outcome: TypeAlias = dict[str, Any]
"""What comes out for one category, plain values for JSON: category, model, config, object_name, normals, problems,
paths and labels of the test images, runs (shots, seed, method, draw, the METRICS, seconds, scores), draws (shots,
method, and for each metric its figures on bootstrap draws, means over the runs), seconds."""

Report: TypeAlias = Callable[[str, int, int], None]
"""Called with the category, its images done and its images in all; it may raise to cancel."""


def seeded_order(n: int, seed: int) -> list[int]:
    """The order in which a seed takes n normal images; fewer shots are a part of more."""
    return [int(i) for i in np.random.default_rng(seed).permutation(n)]


def choose_normals(entries: Sequence[Entry], seed: int) -> list[Entry]:
    """The normal images of a data set in the order in which a seed takes them."""
    normals = [entry for entry in entries if entry.role == "normal"]
    return [normals[i] for i in seeded_order(len(normals), seed)]


def labelled_tests(entries: Sequence[Entry]) -> list[Entry]:
    """The images that can be scored against the truth."""
    return [entry for entry in entries if entry.role == "test" and entry.label is not None]


def checked_methods(names: Sequence[str]) -> tuple[Method, ...]:
    """Names of methods, each once.

    Raises:
        ConfigError: if there is none, or one is not known.
    """
    unknown = [name for name in names if name not in METHODS]
    if unknown or not names:
        raise ConfigError(f"methods is {', '.join(names) or 'empty'}; choose from {', '.join(METHODS)}.")
    return tuple(method for method in dict.fromkeys(names) if method in METHODS)


@dataclass(frozen=True)
class FewShotProtocol:
    """What is asked for: the numbers and choices of normal images, the methods, and whether maps are compared."""

    shots: tuple[int, ...]
    seeds: tuple[int, ...]
    methods: tuple[Method, ...]
    pixel: bool

    @classmethod
    def of(
        cls, shots: Sequence[int], seeds: Sequence[int], methods: Sequence[Method], pixel: bool
    ) -> "FewShotProtocol":
        """The plan with each number and method once, the shots in ascending order."""
        return cls(tuple(sorted(set(shots))), tuple(dict.fromkeys(seeds)), tuple(dict.fromkeys(methods)), pixel)

    def __post_init__(self) -> None:
        if not self.shots or self.shots[0] < 1:
            raise ConfigError(f"shots is {list(self.shots)}; give whole numbers of normal images, at least 1 each.")
        if not self.seeds or min(self.seeds) < 0:
            raise ConfigError(f"seeds is {list(self.seeds)}; give whole numbers of at least 0.")
        checked_methods(self.methods)

    def check(self, name: str, entries: Sequence[Entry]) -> None:
        """Makes sure that a category can be evaluated, before anything runs.

        Raises:
            DatasetError: if it has too few normal images or no labelled test image.
        """
        n_normal = sum(entry.role == "normal" for entry in entries)
        if not n_normal:
            raise DatasetError(f"{name} has no normal images: put some into train/good or normal.")
        if n_normal < self.shots[-1]:
            images = f"{n_normal} normal image{'s' * (n_normal != 1)}"
            raise DatasetError(f"{name} has {images} and {self.shots[-1]} shots are asked for: ask for fewer.")
        if not labelled_tests(entries):
            raise DatasetError(f"{name} has no labelled test image: put them into test/good and test/<kind>.")

    def learning(self) -> list[tuple[Method, int]]:
        """The detectors that learn for themselves, with the number of the draw; visual and text come out of lake's."""
        found: list[tuple[Method, int]] = []
        if {"lake", "visual", "text"} & set(self.methods):
            found.append(("lake", 0))
        if "random" in self.methods:
            found.extend(("random", draw) for draw in range(N_RANDOM_DRAWS))
        if "all" in self.methods:
            found.append(("all", 0))
        return found
