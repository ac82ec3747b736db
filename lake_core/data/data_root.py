"""The one folder of the server below which a visitor may choose data sets; nothing outside it is ever opened."""

import os
from collections.abc import Sequence
from pathlib import Path

from lake_core.data.folders import categories, index_folder
from lake_core.data.label_tables import table_of
from lake_core.errors import DatasetError

VARIABLE = "LAKE_DATA"


def data_root(arguments: Sequence[str] = ()) -> Path | None:
    """The folder after `--data` among the arguments, else that of the environment's LAKE_DATA, else None."""
    named = arguments[arguments.index("--data") + 1] if "--data" in arguments[:-1] else os.environ.get(VARIABLE, "")
    return Path(named) if named.strip() else None


def listed(root: Path) -> dict[str, list[Path]]:
    """What can be chosen: name of a folder ("." for the root itself) -> its data sets, links to elsewhere left out.

    Raises:
        DatasetError: if the root is missing.
    """
    if not root.is_dir():
        raise DatasetError(f"The server's data folder, {root.name}, does not exist; start it with another --data.")
    found = {".": _inside(root, categories(root))}
    for folder in sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith(".")):
        if folder not in found["."] and is_inside(root, folder):
            found[folder.name] = _inside(root, categories(folder))
    return {name: folders for name, folders in found.items() if folders}


def is_inside(root: Path, path: Path) -> bool:
    """Whether a path, with all links followed, is the root or below it."""
    return Path(os.path.realpath(path)).is_relative_to(os.path.realpath(root))


def check_data_set(root: Path, folder: Path) -> None:
    """Makes sure that a data set and every table, image and mask of it lie below the root.

    Raises:
        DatasetError: if one does not.
    """
    if not is_inside(root, folder):
        raise DatasetError(f"{folder.name} is not below the data folder of this server; choose one that is.")
    table = table_of(folder)
    if table is not None and not is_inside(root, table):  # before it is read: messages quote its first line
        raise DatasetError(f"{folder.name}: {table.name} lies outside of the data folder; copy it there.")
    for entry in index_folder(folder):
        if not all(is_inside(root, path) for path in (entry.path, *entry.masks)):
            raise DatasetError(f"{folder.name}: {entry.name} is a link to outside of the data folder; copy it there.")


def _inside(root: Path, folders: list[Path]) -> list[Path]:
    return [folder for folder in folders if is_inside(root, folder)]
