"""The images of one analysis: immutable, a change makes a new object."""

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import Literal

from lake_core.data.datasets import Dataset, Example, FreePaths
from lake_core.data.images import InputImage
from lake_core.types import Label

Side = Literal["normals", "tests"]
Contents = tuple[str, ...]
MAX_IMAGES = 400
"""Per side; more belongs to `lake score` and `lake evaluate`, which do not hold all images at once."""


@dataclass(frozen=True, eq=False)
class Workspace:
    """The images of one analysis.

    Attributes:
        normals: Images to learn from.
        tests: Images to score, each with its label if known.
        name: What the images are, for headings and file names.
        sample: The built-in sample that was opened, whatever was added to it since; "" if none was.
    """

    normals: tuple[Example, ...] = ()
    tests: tuple[Example, ...] = ()
    name: str = ""
    sample: str = ""

    @property
    def is_empty(self) -> bool:
        return not self.normals and not self.tests

    @property
    def n_images(self) -> int:
        return len(self.normals) + len(self.tests)

    @property
    def images(self) -> list[InputImage]:
        """Normal images, then test images."""
        return [example.image for example in (*self.normals, *self.tests)]

    def with_added(self, dataset: Dataset) -> tuple["Workspace", list[str]]:
        """The workspace with the images of a data set added, and one sentence for each thing left out."""
        notices: list[str] = []
        normals = _joined(self.normals, dataset.normals, "normal", notices)
        tests = _joined(self.tests, dataset.tests, "test", notices)
        in_both = {e.image.sha256 for e in normals} & {e.image.sha256 for e in tests}
        if in_both:
            names = ", ".join(sorted(e.image.name for e in tests if e.image.sha256 in in_both)[:3])
            notices.append(f"{names}: the same bytes are also among the normal images, so this score means nothing.")
        return replace(self, normals=normals, tests=tests, name=self.name or dataset.name), notices

    def without(self, side: Side, sha256: str) -> "Workspace":
        """The workspace without one image."""
        kept = tuple(e for e in getattr(self, side) if e.image.sha256 != sha256)
        return replace(self, normals=kept) if side == "normals" else replace(self, tests=kept)

    def labelled(self, sha256s: Collection[str], label: Label | None) -> "Workspace":
        """The workspace with another label for some test images."""
        tests = tuple(replace(e, label=label) if e.image.sha256 in sha256s else e for e in self.tests)
        return replace(self, tests=tests)

    def tests_named(self, pattern: str) -> tuple[Example, ...]:
        """The test images whose path has a pattern.

        Args:
            pattern: `*` stands for any characters, `?` for one, whatever the case of letters. It begins at any folder
                of the path; without `*` and `?` it may stand anywhere in the path, and empty it is that of all.
        """
        if not set(pattern) & set("*?"):
            pattern = f"*{pattern}*"
        literal = re.escape(pattern).replace(r"\*", ".*").replace(r"\?", ".")
        sought = re.compile(f"(?:.*/)?{literal}", re.IGNORECASE | re.DOTALL)
        return tuple(e for e in self.tests if sought.fullmatch(e.image.name))

    def holds_more_than(self, dataset: Dataset, labels_count: bool) -> bool:
        """Whether an image is not the data set's, or has another label where labels count."""
        own, others = (
            {(e.image.sha256, e.label if labels_count else None) for e in (*one.normals, *one.tests)}
            for one in (self, dataset)
        )
        return not own <= others


def shas(examples: Iterable[Example]) -> Contents:
    """The contents of images: all that a drawing of them depends on."""
    return tuple(example.image.sha256 for example in examples)


def identities(examples: Iterable[Example]) -> Contents:
    """Contents and names: results hold images, and two visitors may bring the same one under different names."""
    return tuple(f"{example.image.sha256} {example.image.name}" for example in examples)


def _joined(held: tuple[Example, ...], added: Iterable[Example], side: str, notices: list[str]) -> tuple[Example, ...]:
    by_content = {example.image.sha256: example for example in held}
    paths = FreePaths(PurePosixPath(example.image.name) for example in held)
    for example in added:
        same = by_content.get(example.image.sha256)
        if same is not None:
            notices.append(f"{example.image.name}: the same bytes as {same.image.name}, so it is kept once.")
        elif len(by_content) >= MAX_IMAGES:
            notices.append(f"{example.image.name}: left out; the dashboard holds at most {MAX_IMAGES} {side} images.")
        else:
            name = paths.take(PurePosixPath(example.image.name))
            by_content[example.image.sha256] = replace(example, image=replace(example.image, name=str(name)))
    return tuple(by_content.values())
