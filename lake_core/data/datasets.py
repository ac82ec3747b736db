"""Data sets of images: folders in MVTec's layout or plain ones, uploads and archives, and the built-in samples."""

import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Literal, NamedTuple

import numpy as np

from lake_core.data.archives import ARCHIVE_SUFFIXES, Archive
from lake_core.data.decoding import begins_as_image
from lake_core.data.folders import REMEDY, Entry, categories, files_below, folders_left_out, placed_in
from lake_core.data.images import InputImage, duplicates, read_image
from lake_core.data.labels import Placed, Role, arrange, is_hidden, is_image_name, label_of, role_of, safe_path
from lake_core.data.masks import united_mask
from lake_core.errors import DatasetError, ImageError, LakeError
from lake_core.types import Label, Progress, counted

MAX_DATASET_BYTES = 2_000_000_000
"""Pixels, decoded and as they came, that one Dataset may hold; larger ones are walked with index_folder and
read_example."""
_MOST_SNIFFED = 50
"""Files without a suffix that are looked into."""
_SIDE_FILES = frozenset({"", ".txt", ".md", ".csv", ".json", ".xml", ".yaml", ".yml", ".html", ".log", ".ini", ".db"})
"""Suffixes of files that often lie beside images and need no remark."""


@dataclass(frozen=True, eq=False)
class Example:
    """An image and what is known of it.

    Attributes:
        label: "good", "defective", or None where it is not known.
        kind: Of defect; None for good images and where it is not known.
        mask: (height, width) bool, True where defect, of the image's size; None where there is none.
    """

    image: InputImage
    label: Label | None = None
    kind: str | None = None
    mask: np.ndarray | None = None

    def __post_init__(self) -> None:
        if self.label not in ("good", "defective", None):
            raise ValueError(f"label is {self.label!r}; it must be 'good', 'defective' or None")


@dataclass(frozen=True, eq=False)
class Given:
    """An image and its masks as they came: files, or their bytes.

    Attributes:
        name: Of the image, for messages.
        masks: Name -> file; together they are its mask.
    """

    name: str
    source: Path | bytes
    masks: Mapping[str, Path | bytes]


class Decoded(NamedTuple):
    """An image with its mask, which is None where there is none or it cannot be used, as `problem` then says."""

    image: InputImage
    mask: np.ndarray | None = None
    problem: str = ""


@dataclass(frozen=True, eq=False)
class Dataset:
    """Images to fit on and images to test; `problems` names what was left out, one sentence each."""

    name: str
    normals: tuple[Example, ...]
    tests: tuple[Example, ...]
    problems: tuple[str, ...] = ()


def read_example(entry: Entry, *, keep_encoded: bool = False) -> Example:
    """Read an image and its mask.

    Args:
        entry: Of a data set's index.
        keep_encoded: As for `read_image`.
    Raises:
        ImageError: if either cannot be used.
    """
    image = read_image(entry.path, entry.name, keep_encoded=keep_encoded)
    return Example(image, entry.label, entry.kind, united_mask(entry.masks, image.size))


def read_folder(root: str | Path, name: str | None = None) -> Dataset:
    """Read one data set: a category in MVTec's layout, or plain folders such as `normal` and `test`.

    Images that cannot be used are skipped and named in `problems`; of byte-identical ones, one is kept per side.

    Raises:
        DatasetError: if the folder is missing, is empty, holds several data sets, or has no normal image.
    """
    root = Path(root)
    found = categories(root)
    if len(found) > 1:
        names = ", ".join(folder.name for folder in found[:5])
        raise DatasetError(f"{root} holds {len(found)} data sets ({names}{' ...' * (len(found) > 5)}): choose one.")
    placed = placed_in(root)
    if all(item.role.role == "ignored" for item in placed):
        raise DatasetError(f"{root} holds no images: {REMEDY}.")
    if not any(item.role.role == "normal" for item in placed):
        raise DatasetError(f"{root} has no normal images: {REMEDY}.")
    remarks = [*folders_left_out(root, _ignored(placed)), *_remarks(placed, lambda path: root / path)]
    dataset = _read(name or root.resolve().name, placed, lambda path: root / path, remarks)
    if not dataset.normals:
        raise DatasetError(f"None of the normal images in {root} can be used: {dataset.problems[0]}")
    return dataset


def read_side(given: Path, role: Literal["normal", "test"]) -> Dataset:
    """Read the images of a folder and below, or one image, all for one side; their names begin with the folder's.

    Labels and masks come from paths, as in MVTec's layout: masks may also lie in a folder `ground_truth` beside the one
    given. Images that cannot be used are skipped and named in `problems`; of byte-identical ones, one is kept.

    Raises:
        DatasetError: if the folder is missing or holds no image.
    """
    root = given.resolve().parent
    if given.is_file():
        paths = [PurePosixPath(given.name)]
    else:
        folders = [given.resolve(), *(mask_folders(root) if role == "test" else ())]
        paths = [folder.name / path for folder in folders for path in files_below(folder)]
    placed = [_with_role(item, role) for item in arrange(paths)]
    if not any(item.role.role == role for item in placed):
        raise DatasetError(f"{given} holds no images: give PNG, JPEG, WebP, BMP, TIFF or GIF files.")
    return _read(root.name, placed, lambda path: root / path, folders_left_out(root, _ignored(placed)))


def decoded(given: Given) -> Decoded:
    """Decodes an image and its masks.

    Raises:
        ImageError: if the image cannot be used.
    """
    image = read_image(given.source, given.name, keep_encoded=True)
    try:
        return Decoded(image, united_mask(list(given.masks.values()), image.size, list(given.masks)))
    except ImageError as error:
        return Decoded(image, None, str(error))


def read_members(
    files: Iterable[tuple[str, bytes]],
    role: Literal["normal", "test"] | None = None,
    name: str = "upload",
    decode: Callable[[Given], Decoded] = decoded,
    on_progress: Progress | None = None,
) -> Dataset:
    """Read uploaded files; ZIP archives among them are unpacked in memory, within limits.

    Nothing is raised: whatever cannot be used is named in `problems`, and either side may be empty.

    Args:
        files: (name, bytes); names may be relative paths. The files of `good.zip` count as lying in a folder `good`.
        role: What the images are for; None takes it from their paths. Masks are always recognised by their paths.
        decode: Decodes an image or raises an ImageError, like `decoded`.
        on_progress: Called with images done and in all; may raise to cancel.
    """
    problems: list[str] = []
    paths = FreePaths()
    readers: dict[PurePosixPath, Callable[[], bytes]] = {}
    heads: dict[PurePosixPath, Callable[[], bytes]] = {}
    for file_name, data in files:
        path = safe_path(file_name)
        if path.suffix.lower() not in ARCHIVE_SUFFIXES:
            path = paths.take(path)
            readers[path] = heads[path] = partial(bytes, data)
            continue
        try:
            archive = Archive(data, path.as_posix())
        except DatasetError as error:
            problems.append(str(error))
            continue
        problems.extend(archive.problems)
        for member in archive.members:
            free = paths.take(path.with_suffix("") / member)
            readers[free], heads[free] = partial(archive.read, member), partial(archive.head, member)

    placed = [_with_role(item, role) for item in arrange(readers)]
    problems.extend(_remarks(placed, lambda path: heads[path]()))
    if not problems and all(item.role.role in ("ignored", "mask") for item in placed):
        problems.append(f"No images were found in {name}: give PNG, JPEG, WebP, BMP, TIFF or GIF files.")
    n_bad = sum(item.role.role == "normal" and label_of(item.path)[0] == "defective" for item in placed)
    if n_bad:
        problems.append(f"{_count(n_bad)} given as normal, but in folders named for defects: check them.")
    return _read(name, placed, lambda path: readers[path](), problems, _Way(decode, on_progress))


class _Way(NamedTuple):
    """How images are decoded, and who is told how far it is."""

    decode: Callable[[Given], Decoded] = decoded
    on_progress: Progress | None = None


def _read(
    name: str,
    placed: Iterable[Placed],
    source: Callable[[PurePosixPath], Path | bytes],
    problems: Iterable[str],
    way: _Way = _Way(),  # noqa: B008 (a constant)
) -> Dataset:
    """Decode what is placed, one file at a time, the normal images first."""
    remarks = list(problems)
    sides: dict[str, list[Example]] = {"normal": [], "test": []}
    n_bytes, n_over = 0, 0
    taking_part = [item for item in placed if item.role.role in sides]
    for item in counted(sorted(taking_part, key=lambda item: item.role.role != "normal"), way.on_progress):
        if n_bytes > MAX_DATASET_BYTES:
            n_over += 1
            continue
        try:
            found = way.decode(_given(item, source, remarks))
        except LakeError as error:
            remarks.append(str(error))
            continue
        if found.problem:
            remarks.append(found.problem)
        image, mask = found.image, found.mask
        n_bytes += image.rgb.nbytes + len(image.encoded or b"") + (0 if mask is None else mask.nbytes)
        sides[item.role.role].append(Example(image, item.role.label, item.role.kind, mask))
    if n_over:
        limit = f"{MAX_DATASET_BYTES / 1e9:g} GB"
        remarks.append(f"{_count(n_over)} left out, because the others fill {limit}: give fewer or smaller ones.")
    normals, tests = (_without_copies(side, remarks) for side in sides.values())
    normal_names = {example.image.sha256: example.image.name for example in normals}
    for example in tests:
        if example.image.sha256 in normal_names:
            remarks.append(
                f"{example.image.name} is also among the normal images ({normal_names[example.image.sha256]}): "
                f"its score says nothing about new images."
            )
    return Dataset(name, tuple(normals), tuple(tests), tuple(dict.fromkeys(remarks)))


def _given(item: Placed, source: Callable[[PurePosixPath], Path | bytes], remarks: list[str]) -> Given:
    """The files of an image; a mask that cannot be unpacked adds a remark, and all of the image's masks go with it."""
    image = source(item.path)
    try:
        masks = {path.as_posix(): source(path) for path in item.masks}
    except LakeError as error:
        remarks.append(str(error))
        masks = {}
    return Given(item.path.as_posix(), image, masks)


def _without_copies(examples: list[Example], remarks: list[str]) -> list[Example]:
    """The examples without byte-identical copies; each group of copies adds a remark."""
    dropped: set[int] = set()
    for first, *copies in duplicates(example.image for example in examples):
        names = ", ".join(copy.name for copy in copies)
        remarks.append(
            f"{first.name} was given {len(copies) + 1} times, byte for byte (also as {names}); it is kept once."
        )
        dropped.update(id(copy) for copy in copies)
    return [example for example in examples if id(example.image) not in dropped]


def _with_role(item: Placed, role: Literal["normal", "test"] | None) -> Placed:
    if role is None or item.role.role == "mask" or not is_image_name(item.path):
        return item
    if role == "normal":
        return Placed(item.path, Role("normal", "good"))
    return Placed(item.path, Role("test", *label_of(item.path)), item.masks)


class FreePaths:
    """Gives each file a path of its own: browsers send files of several folders without their folders."""

    def __init__(self, taken: Iterable[PurePosixPath] = ()) -> None:
        self._taken = set(taken)
        self._tried: Counter[PurePosixPath] = Counter()  # that thousands of one name need no thousands of looks each

    def take(self, path: PurePosixPath) -> PurePosixPath:
        """The path, numbered if it is taken; from now on it is."""
        free = path
        while free in self._taken:
            self._tried[path] += 1
            free = path.with_name(f"{path.stem} ({self._tried[path] + 1}){path.suffix}")
        self._taken.add(free)
        return free


def mask_folders(root: Path) -> list[Path]:
    """The folders of masks in a data set's folder, if it may be read."""
    found = [Path(entry) for entry in os.scandir(root) if entry.is_dir()] if os.access(root, os.R_OK) else []
    return [folder for folder in found if role_of(PurePosixPath(folder.name, "x.png")).role == "mask"]


def _ignored(placed: Iterable[Placed]) -> list[PurePosixPath]:
    return [item.path for item in placed if item.role.role == "ignored" and not is_hidden(item.path)]


def _remarks(placed: Iterable[Placed], source: Callable[[PurePosixPath], Path | bytes]) -> list[str]:
    """One sentence for each type of file that was left out and may have been meant as an image."""
    ignored = _ignored(placed)
    suffixes = sorted({path.suffix.lower() for path in ignored if not is_image_name(path)} - _SIDE_FILES)
    remarks = []
    for suffix in suffixes:
        names = [path.as_posix() for path in ignored if path.suffix.lower() == suffix]
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        remarks.append(f"{', '.join(names[:3])}{more}: '{suffix}' is not read as an image; convert to PNG or JPEG.")
    without = [path for path in ignored if not path.suffix][:_MOST_SNIFFED]
    remarks += [
        f"{path} seems to be an image, but its name does not say so: give it the ending of its format, as in .png."
        for path in without
        if begins_as_image(source(path))
    ]
    images = [path for path in ignored if is_image_name(path)]
    n_unclear = sum(role_of(path).role == "ignored" for path in images)
    if n_unclear:
        remarks.append(f"{_count(n_unclear)} left out, in folders of unknown meaning below 'train': use 'train/good'.")
    if len(images) > n_unclear:
        remarks.append(f"{_count(len(images) - n_unclear)} left out: for validation, or not in the data set's table.")
    return remarks


def _count(n: int) -> str:
    return "1 image was" if n == 1 else f"{n} images were"
