"""Data sets in folders: which file is what, without opening any."""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePath, PurePosixPath
from typing import Literal

from lake_core.data.label_tables import with_tables
from lake_core.data.labels import Placed, arrange, is_hidden, is_image_name, is_part_folder, natural_key, role_of
from lake_core.errors import DatasetError
from lake_core.types import Label

REMEDY = "put normal ones into a folder 'train/good' or 'normal'"


@dataclass(frozen=True)
class Entry:
    """An image of a data set that has not been read yet.

    Attributes:
        name: Its path below the data set's folder.
        masks: Files that mark its defects; together they are its mask (MVTec LOCO has one for each defect).
    """

    path: Path
    name: str
    role: Literal["normal", "test"]
    label: Label | None = None
    kind: str | None = None
    masks: tuple[Path, ...] = ()


def list_images(folder: Path) -> list[Path]:
    """All images in a folder and below, in natural order; recognised by their names, hidden ones left out."""
    return [folder / path for path in files_below(folder) if is_image_name(path)]


def categories(root: Path) -> list[Path]:
    """The data sets in a folder: `root` itself if it is one, else those of its subfolders that are.

    A data set has a folder of normal images: `train/good`, `good`, `normal`, or VisA's `Data/Images/Normal`.
    """
    if _is_category(root):
        return [root]
    folders = sorted((f for f in _subfolders(root) if not is_part_folder(f.name)), key=natural_key)
    return [folder for folder in folders if os.access(folder, os.R_OK | os.X_OK) and _is_category(folder)]


def index_folder(root: Path) -> list[Entry]:
    """The normal and the test images of one data set, in natural order, without opening any.

    Raises:
        DatasetError: if the folder is missing or holds no image.
    """
    return entries_of(root, placed_in(root))


def entries_of(root: Path, placed: Iterable[Placed]) -> list[Entry]:
    """The normal and the test images among the files of one data set, as from `placed_in`.

    Raises:
        DatasetError: if there are no images at all.
    """
    placed = list(placed)
    if all(item.role.role == "ignored" for item in placed):
        raise DatasetError(f"{root} holds no images: {REMEDY}.")
    return [
        Entry(
            path=root / item.path,
            name=os.fsencode(item.path.as_posix()).decode("utf-8", "backslashreplace"),
            role=item.role.role,
            label=item.role.label,
            kind=item.role.kind,
            masks=tuple(root / mask for mask in item.masks),
        )
        for item in placed
        if item.role.role == "normal" or item.role.role == "test"
    ]


def placed_in(root: Path) -> list[Placed]:
    """All files of one data set with their roles: by their paths, and by the tables that lie beside them.

    Raises:
        DatasetError: if the folder is missing, or a table cannot be used.
    """
    return with_tables(root, arrange(_walk(root)))


def files_below(root: Path) -> list[PurePosixPath]:
    """All files below a folder, relative to it, in natural order.

    Hidden and linked folders are not entered. Linked ones, and those that cannot be read, are named like files; see
    `folders_left_out`.
    """
    return sorted(_walk(root), key=natural_key)


def folders_left_out(root: Path, paths: Iterable[PurePosixPath]) -> list[str]:
    """One sentence for each folder among what `files_below` gives."""
    return [
        f"{path} is a link to a folder, which is not entered: copy the folder there."
        if (root / path).is_symlink()
        else f"The folder {path} cannot be read: check its permissions."
        for path in paths
        if os.path.isdir(root / path)
    ]


def _walk(root: Path) -> Iterator[PurePosixPath]:
    _check_folder(root)
    unread: list[PurePosixPath] = []

    def note(error: OSError) -> None:
        if Path(error.filename) == root:
            raise DatasetError(f"{root} cannot be read ({error.strerror}): check its permissions.")
        unread.append(PurePosixPath(Path(error.filename).relative_to(root).as_posix()))

    for folder, subfolders, names in os.walk(root, onerror=note):
        subfolders[:] = [name for name in subfolders if not is_hidden(PurePath(name))]
        at = PurePosixPath(Path(folder).relative_to(root).as_posix())
        yield from (at / name for name in names)
        # A link is not followed, since it may lead round in circles, but named: what lies behind it is ignored.
        yield from (at / name for name in subfolders if Path(folder, name).is_symlink())
    yield from unread


def _subfolders(root: Path) -> list[Path]:
    _check_folder(root)
    try:
        return [path for path in root.iterdir() if os.path.isdir(path) and not is_hidden(PurePath(path.name))]
    except OSError as error:
        raise DatasetError(f"{root} cannot be read ({error.strerror or error}): check its permissions.") from error


def _check_folder(root: Path) -> None:
    if not os.path.exists(root):
        raise DatasetError(f"{root} does not exist: check the path.")
    if not os.path.isdir(root):
        raise DatasetError(f"{root} is a file, not a folder: give the folder that holds the images.")


def _is_category(folder: Path) -> bool:
    if os.path.isdir(folder / "Data" / "Images" / "Normal"):
        return True
    return any(role_of(PurePosixPath(sub.name, "x.png")).role == "normal" for sub in _subfolders(folder))
