"""A saved analysis in memory: its manifest and the files that it names, made of images and read back to them."""

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from typing import NamedTuple

import numpy as np
from PIL import Image

from lake_core.data.datasets import MAX_DATASET_BYTES, Dataset, Example, FreePaths
from lake_core.data.images import InputImage, bytes_decoded, read_image
from lake_core.data.labels import printable, safe_path
from lake_core.data.masks import read_mask
from lake_core.errors import ImageError, ProjectError
from lake_core.projects.manifest import (
    Chosen,
    Configuration,
    MadeWith,
    Manifest,
    PinnedNeuron,
    SavedImage,
    SavedScores,
    checked,
)
from lake_core.types import Progress, counted


@dataclass(frozen=True)
class State:
    """What belongs to an analysis besides images, configuration and scores; see `Manifest`."""

    sample: str = ""
    own_threshold: float | None = None
    pins: tuple[PinnedNeuron, ...] = ()
    compared: tuple[Configuration, ...] = ()
    chosen: Chosen = field(default_factory=Chosen)


class OpenedProject(NamedTuple):
    """What a project says, and its images, decoded."""

    manifest: Manifest
    dataset: Dataset


@dataclass(frozen=True, eq=False)
class Project:
    """A saved analysis.

    Attributes:
        manifest: All that it says.
        files: sha256 -> bytes, of each file that the manifest names.
    """

    manifest: Manifest
    files: Mapping[str, bytes]

    def dataset(self) -> Dataset:
        """Its images, decoded, with labels and masks.

        Raises:
            ProjectError: if they need more memory than a data set may, or one cannot be decoded.
        """
        self.check_size(MAX_DATASET_BYTES)
        return dataset_of(self.manifest, self.example)

    def opened(self) -> OpenedProject:
        """What it says, and its images; raises as `dataset`."""
        return OpenedProject(self.manifest, self.dataset())

    def check_size(self, max_bytes: int) -> None:
        """Looks at the headers of its images, before any is decoded.

        Raises:
            ProjectError: if they and their masks need more memory.
        """
        n_bytes = 0
        for saved in self.manifest.images:
            data = self.files[saved.sha256]
            pixels = bytes_decoded(data)
            n_bytes += len(data) + pixels + (0 if saved.mask is None else pixels // 3)
            if n_bytes > max_bytes:
                name, limit = self.manifest.name or "project", f"{max_bytes / 1e9:.2g} GB"
                raise ProjectError(f"The images of {name} fill more than {limit}: save a project with fewer.")

    def example(self, saved: SavedImage) -> Example:
        """One of its images, decoded, with label and mask.

        Raises:
            ProjectError: if it cannot be decoded.
        """
        try:
            image = read_image(self.files[saved.sha256], saved.name, keep_encoded=True)
            mask = None if saved.mask is None else read_mask(self.files[saved.mask], image.size, f"{saved.name}'s mask")
        except ImageError as error:
            raise ProjectError(f"An image of the project cannot be used. {error}") from None
        return Example(image, saved.label, saved.kind, mask)


def dataset_of(
    manifest: Manifest, example: Callable[[SavedImage], Example], on_progress: Progress | None = None
) -> Dataset:
    """The images of a project as a data set.

    Args:
        example: Decodes one of them.
        on_progress: Called with images done and in all; may raise to cancel.
    """
    read = [example(saved) for saved in counted(manifest.images, on_progress)]
    n_normals = len(manifest.normals)
    return Dataset(manifest.name or "project", tuple(read[:n_normals]), tuple(read[n_normals:]))


def project_of(
    dataset: Dataset,
    configuration: Configuration,
    made_with: MadeWith,
    scores: SavedScores | None = None,
    state: State | None = None,
) -> Project:
    """A project of images, with what is known of them.

    Args:
        dataset: Images whose file was not kept are saved as PNG, which has the same pixels and another sha256; there
            must be no scores then.
        scores: By the sha256 of these images.
    Raises:
        ProjectError: if there are more images than a project holds, or a value cannot be kept in one.
    """
    files: dict[str, bytes] = {}
    state = state or State()
    manifest = checked(
        Manifest,
        {
            "name": printable(dataset.name)[:200],
            "sample": state.sample,
            "normals": _saved(dataset.normals, files),
            "tests": _saved(dataset.tests, files),
            "configuration": configuration,
            "own_threshold": state.own_threshold,
            "pins": state.pins,
            "compared": state.compared,
            "chosen": state.chosen,
            "made_with": made_with,
            "scores": scores,
        },
    )
    return Project(manifest, files)


def sha256_of(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _saved(examples: Sequence[Example], files: dict[str, bytes]) -> tuple[SavedImage, ...]:
    """The entries of images; their files are added to `files`."""
    saved = []
    for example, name in zip(examples, _names(example.image.name for example in examples), strict=True):
        image = example.image
        sha256, data = (image.sha256, image.encoded) if image.encoded is not None else _png(image)
        files[sha256] = data
        mask = None
        if example.mask is not None and example.mask.any():
            mask, data = _mask_png(example.mask)
            files[mask] = data
        values = {"name": name, "sha256": sha256, "label": example.label, "mask": mask}
        kind = None if example.kind is None else printable(example.kind)
        saved.append(checked(SavedImage, values | {"kind": kind}))
    return tuple(saved)


def _names(names: Iterable[str]) -> list[str]:
    """Names as a manifest may have them, each once."""
    paths = FreePaths()
    return [paths.take(safe_path(name)).as_posix() for name in names]


def _png(image: InputImage) -> tuple[str, bytes]:
    return _encoded(Image.fromarray(image.rgb))


def _mask_png(mask: np.ndarray) -> tuple[str, bytes]:
    return _encoded(Image.fromarray(mask))


def _encoded(image: Image.Image) -> tuple[str, bytes]:
    """sha256 and bytes of a PNG."""
    buffer = BytesIO()
    image.save(buffer, "PNG")
    return sha256_of(buffer.getvalue()), buffer.getvalue()
