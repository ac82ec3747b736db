"""Paths to roles: normal or test image, good or defective, and which mask belongs to it. Nothing is opened."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import PurePath, PurePosixPath
from typing import Any, Literal, TypeAlias

from lake_core.types import Label

_Masks: TypeAlias = dict[tuple[tuple[str, ...], tuple[str, ...], str | None], list[PurePosixPath]]
"""(folders before the data set's parts, folders below the part, stem) -> a mask; without a stem, all in the folder."""

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".bmp", ".dib", ".tif", ".tiff", ".gif"})
_GOOD = frozenset(
    {"good", "normal", "normals", "ok", "fine", "healthy", "nominal", "defect_free", "non_defective", "reference"}
)
_BAD = frozenset({"bad", "defect", "defects", "defective", "anomaly", "anomalies", "anomalous", "abnormal"})
_BAD |= {"broken", "damaged", "faulty", "ng", "nok", "ko", "not_ok"}
_TRAIN = frozenset({"train", "training"})
_VALIDATION = frozenset({"val", "valid", "validation"})
_TEST = frozenset({"test", "tests", "testing", "test_public"}) | _VALIDATION
_MASKS = frozenset({"ground_truth", "groundtruth", "gt", "mask", "masks"})
_IMAGES = frozenset({"images", "imgs"})
_MASK_ENDINGS = ("_mask", "-mask", "_gt")


@dataclass(frozen=True)
class Role:
    """What an image is for.

    Attributes:
        role: "ignored" covers hidden files, files that are no images, and folders of unknown meaning below `train`.
        label: None where the path does not tell.
        kind: Of defect, a folder's name; None for good images.
    """

    role: Literal["normal", "test", "mask", "ignored"]
    label: Label | None = None
    kind: str | None = None


_IGNORED = Role("ignored")


@dataclass(frozen=True)
class Placed:
    """A path with its role and the paths of its masks, which together mark its defects."""

    path: PurePosixPath
    role: Role
    masks: tuple[PurePosixPath, ...] = ()


def natural_key(path: PurePath) -> tuple[list[str | tuple[int, str]], str]:
    """Sorts 2.png before 10.png, whatever the case of letters and however many digits."""
    text = path.as_posix()
    pieces: list[Any] = re.split(r"([0-9]+)", text.lower())  # what is no number and what is one, in turn
    pieces[1::2] = [(len(digits), digits) for digits in (number.lstrip("0") for number in pieces[1::2])]
    return pieces, text


def is_hidden(path: PurePath) -> bool:
    """Whether the file or a folder above it is hidden, or one of macOS's own."""
    text = f"/{path.as_posix()}/"
    return "/." in text or "/__MACOSX/" in text


def is_image_name(path: PurePath) -> bool:
    """Whether it has the name of an image and is not hidden."""
    return path.suffix.lower() in IMAGE_SUFFIXES and not is_hidden(path)


def safe_path(name: str) -> PurePosixPath:
    """A name from an upload or archive as a relative path that does not climb: '../', drives and roots are dropped.

    What cannot be printed, such as a line break, is replaced.
    """
    parts = [
        part
        for part in printable(name).replace("\\", "/").split("/")
        if part not in ("", ".", "..") and part[1:] != ":"
    ]
    return PurePosixPath(*parts) if parts else PurePosixPath("image")


def printable(text: str) -> str:
    """A text in which what cannot be printed or encoded is replaced."""
    return "".join(one if one.isprintable() else "\N{REPLACEMENT CHARACTER}" for one in text)


def role_of(path: PurePosixPath) -> Role:
    """The role of a file from its path below a data set's folder.

    Known are MVTec's names (`train/good`, `test/<kind>`, `ground_truth/<kind>`) and plain ones (`normal`, `good`, `ok`,
    `test`, `defective`, `bad`, `ng`, `anomaly` ...), in any case of letters. A path that says nothing is a test
    image without a label.
    """
    return _role_in(path.parts[:-1]) if is_image_name(path) else _IGNORED


@lru_cache(maxsize=1024)  # a folder may hold thousands of images
def _role_in(folders: tuple[str, ...]) -> Role:
    """The role of images in a folder."""
    words = _words(folders)
    if _MASKS & set(words):
        below = folders[_last(words, _MASKS) + 1 :]
        return Role("mask", kind=below[0] if below else None)
    label, kind = _label_in(folders)
    at = _last(words, _TRAIN | _TEST)
    if at >= 0 and words[at] in _TRAIN:
        if label == "good" or at == len(words) - 1:
            return Role("normal", "good")
        return Role("test", label, kind) if label else _IGNORED
    if at < 0 and label == "good":
        return Role("normal", "good")
    return Role("test", label, kind)


def label_of(path: PurePosixPath) -> tuple[Label | None, str | None]:
    """The label and the kind of defect that a path tells, each None where it does not.

    Below `test`, the next folder decides: `good` and its like are good, any other is a kind of defect. Elsewhere the
    deepest folder with a known name decides.
    """
    return _label_in(path.parts[:-1])


@lru_cache(maxsize=1024)
def _label_in(folders: tuple[str, ...]) -> tuple[Label | None, str | None]:
    words = _words(folders)
    at = _last(words, _TRAIN | _TEST)
    if at >= 0 and words[at] in _TEST and at + 1 < len(words) and words[at + 1] not in _BAD:
        return ("good", None) if words[at + 1] in _GOOD else ("defective", folders[at + 1])
    known = _last(words, _GOOD | _BAD)
    if known < at or known < 0:
        return None, None
    if words[known] in _GOOD:
        return "good", None
    return "defective", folders[min(known + 1, len(folders) - 1)]


def arrange(paths: Iterable[PurePosixPath]) -> list[Placed]:
    """Roles for all paths of one data set, in natural order, each defective or unlabelled image with its mask.

    A mask is found as `ground_truth/<kind>/<stem>_mask.png` or `<stem>.png`, as `masks/<stem>.png`, as
    `<stem>_mask.png` beside its image, or as all files of the folder `ground_truth/<kind>/<stem>` (MVTec LOCO). Where
    there are test images, those below `validation` are ignored: published figures leave them out. Where there are
    `train` and `test`, or a folder of normal images and `test`, what lies beside these parts is ignored.
    """
    ordered = sorted(paths, key=natural_key)
    folders_of = {path: path.parts[:-1] for path in ordered if is_image_name(path)}
    beside_parts = _beside_parts(folders_of)
    roles = dict.fromkeys(ordered, _IGNORED)
    roles |= {path: _role_in(folders) for path, folders in folders_of.items() if path not in beside_parts}
    taking_part = {path: role for path, role in roles.items() if role.role in ("normal", "test")}
    images_at = {(folders_of[path], path.stem.lower()) for path in taking_part}
    if any(role.role == "test" and _part_of(folders_of[path]) - _VALIDATION for path, role in taking_part.items()):
        roles |= {path: _IGNORED for path, folders in folders_of.items() if _part_of(folders) & _VALIDATION}
    masks: _Masks = {}
    for path, folders in folders_of.items():
        role, stem = roles[path], bare_stem(path)
        if role.role == "test" and stem != path.stem.lower() and (folders, stem) in images_at:
            role = roles[path] = Role("mask", kind=role.kind)
        if role.role == "mask":
            before, below = _around_part(folders)
            masks[before, below, stem] = [path]
            if below:
                masks.setdefault((before, below, None), []).append(path)
    return [Placed(path, role, tuple(_masks_of(path, role, masks))) for path, role in roles.items()]


def _beside_parts(folders_of: Mapping[PurePosixPath, tuple[str, ...]]) -> set[PurePosixPath]:
    """Images outside of a data set's parts, such as backups and figures; none where there are no two parts.

    Args:
        folders_of: Image -> the folders above it.
    """
    distinct = set(folders_of.values())
    depth = len(min(distinct, key=len, default=()))
    for level, names in enumerate(zip(*distinct, strict=False)):
        if len(set(names)) > 1 or is_part_folder(names[0]):  # what all have in common, such as the set's name, is over
            depth = level
            break
    first = {path: _word(folders[depth]) if len(folders) > depth else "" for path, folders in folders_of.items()}
    tops = set(first.values())
    if not tops & (_TEST - _VALIDATION):
        return set()
    if tops & _TRAIN:
        parts = _TRAIN | _TEST | _MASKS
    elif tops & _GOOD:
        parts = _TEST | _MASKS | _GOOD | _BAD
    else:
        return set()
    return {path for path, word in first.items() if word not in parts}


def is_good_word(word: str) -> bool:
    """Whether a folder or label of that name means good."""
    return _word(word) in _GOOD


def is_bad_word(word: str) -> bool:
    """Whether a folder or label of that name means defective, of no special kind."""
    return _word(word) in _BAD


def is_part_folder(name: str) -> bool:
    """Whether a folder's name is that of a part of a data set (`train`, `test`, `masks` ...)."""
    return _word(name) in _TRAIN | _TEST | _MASKS | _IMAGES | _GOOD | _BAD


def _masks_of(path: PurePosixPath, role: Role, masks: _Masks) -> Sequence[PurePosixPath]:
    if role.role != "test" or role.label == "good":
        return ()
    before, below, stem = _mask_key(path)
    folder = (_word(path.parent.name),) if len(path.parts) > 1 else ()
    for candidate in (below, folder, ()):
        if (before, candidate, stem) in masks:
            return masks[before, candidate, stem]
    return masks.get((before, (*below, _word(stem)), None), ())


def _mask_key(path: PurePosixPath) -> tuple[tuple[str, ...], tuple[str, ...], str]:
    """Folders before the first known name, folders below the last part's name, and the bare stem."""
    return *_around_part(path.parts[:-1]), bare_stem(path)


@lru_cache(maxsize=1024)
def _around_part(folders: tuple[str, ...]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    words = _words(folders)
    first = next((i for i, word in enumerate(words) if is_part_folder(word)), len(words))
    last = _last(words, _TRAIN | _TEST | _MASKS | _IMAGES)
    return words[:first], words[max(last + 1, first) :]


def bare_stem(path: PurePosixPath) -> str:
    """The name of an image or of its mask without what makes it a mask's: the same for both."""
    stem = path.stem.lower()
    if not stem.endswith(_MASK_ENDINGS):
        return stem
    return next(stem.removesuffix(ending) for ending in _MASK_ENDINGS if stem.endswith(ending))


@lru_cache(maxsize=1024)
def _part_of(folders: tuple[str, ...]) -> frozenset[str]:
    """The word that makes images in a folder those of a test or validation part, if any."""
    words = _words(folders)
    at = _last(words, _TRAIN | _TEST)
    return _TEST & {words[at]} if at >= 0 else frozenset()


@lru_cache(maxsize=1024)
def _words(folders: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(_word(folder) for folder in folders)


def _word(folder: str) -> str:
    return folder.lower().replace("-", "_").replace(" ", "_")


def _last(words: tuple[str, ...], known: frozenset[str]) -> int:
    """Index of the last known word, or -1."""
    return max((i for i, word in enumerate(words) if word in known), default=-1)
