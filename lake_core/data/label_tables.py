"""Tables that say what images are where folders do not: VisA's split_csv/1cls.csv, or a labels.csv beside them."""

import csv
import io
import os
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

from lake_core.data.labels import Placed, Role, bare_stem, is_bad_word, is_good_word, printable
from lake_core.errors import DatasetError
from lake_core.types import Label

VISA_TABLE = PurePosixPath("split_csv/1cls.csv")
LABELS_TABLE = PurePosixPath("labels.csv")
_MAX_BYTES = 50_000_000
_LABELLED = ("test", "normal")
"""Roles that a labels.csv may name; a bare file name is looked for among the first, then among the second."""
_PATH_NAMES, _LABEL_NAMES = ("path", "image", "file", "filename", "name"), ("label", "class", "kind")


def visa_table(root: Path) -> Path | None:
    """VisA's table of splits if `root` is one of its categories and the table lies where VisA has it."""
    table = root.resolve().parent / VISA_TABLE
    return table if os.path.isfile(table) and os.path.isdir(root / "Data" / "Images") else None


def table_of(root: Path) -> Path | None:
    """The table that is read for a data set, if there is one."""
    labels = root / LABELS_TABLE
    return visa_table(root) or (labels if os.path.isfile(labels) else None)


def with_tables(root: Path, placed: Sequence[Placed]) -> list[Placed]:
    """The images of a data set with what the tables beside them say.

    VisA's table decides what is learned from and what is tested; images that it does not name are ignored. A
    labels.csv gives labels to test images: columns `path` (below the data set's folder, or a file name that one test
    image has) and `label` ("good", "defective", or a kind of defect; 0 and 1 count as good and defective), others
    are ignored.

    Raises:
        DatasetError: if a table cannot be read, names an image that is not there, or calls an image defective that
            lies among the normal ones.
    """
    table = table_of(root)
    if table is None:
        return list(placed)
    return _labelled(placed, table) if table.name == LABELS_TABLE.name else _split_as_in_visa(root, placed, table)


def _split_as_in_visa(root: Path, placed: Sequence[Placed], table: Path) -> list[Placed]:
    by_path = {item.path: item for item in placed}
    found = {item.path: Placed(item.path, Role("ignored")) for item in placed if item.role.role != "mask"}
    category = root.resolve().name
    for row in _rows(table, ("object", "split", "label", "image")):
        if row["object"] != category:
            continue
        path = _below(category, row["image"])
        if path is None or path not in by_path:
            raise DatasetError(f"{table} names {row['image']}, which is not there: copy the whole data set.")
        is_good = row["label"].lower() in ("normal", "good")
        if row["split"].lower() == "train":
            found[path] = Placed(path, Role("normal", "good"))
        elif is_good:
            found[path] = Placed(path, Role("test", "good"))
        else:
            mask = _below(category, row.get("mask", ""))
            found[path] = Placed(path, Role("test", "defective", path.parent.name), (mask,) if mask in by_path else ())
    masks = [item for item in placed if item.role.role == "mask"]
    return [found[path] for path in by_path if path in found] + masks


def _below(category: str, path: str) -> PurePosixPath | None:
    """A path of the table below the category's folder; None where it does not lie there."""
    found = PurePosixPath(path)
    return found.relative_to(category) if found.is_relative_to(category) else None


def _labelled(placed: Sequence[Placed], table: Path) -> list[Placed]:
    rows = list(_rows(table, ()))
    path_name = _column(rows, _PATH_NAMES, table)
    label_name = _column(rows, _LABEL_NAMES, table)
    by_path = {item.path: item for item in placed if item.role.role in ("normal", "test")}
    by_name = {role: _by_name(path for path, item in by_path.items() if item.role.role == role) for role in _LABELLED}
    # Folders of masks are named after kinds, which only the table tells.
    masks = {(item.role.kind, bare_stem(item.path)): item.path for item in placed if item.role.role == "mask"}
    changed = {}
    for row in rows:
        path = PurePosixPath(row[path_name].replace("\\", "/"))
        is_name = len(path.parts) == 1
        of_name = next((by_name[role][path.name] for role in _LABELLED if path.name in by_name[role]), [])
        alike = [path] if path in by_path else of_name if is_name else []
        if len(alike) != 1:
            why = "which is there more than once: give its path" if alike else "which is not there: mend its path"
            raise DatasetError(f"{table} names {printable(row[path_name]):.200}, {why}.")
        item = by_path[alike[0]]
        label, kind = _read_label(row[label_name])
        if item.role.role == "normal" and label == "defective":
            raise DatasetError(
                f"{table} calls {item.path} {row[label_name]!r}, but it lies among the normal images: move it to the "
                "test images, or mend the table."
            )
        if item.role.role == "test" and label is not None:
            of_kind = masks.get((kind, bare_stem(item.path)))
            own = item.masks or ((of_kind,) if of_kind is not None else ())
            changed[item.path] = replace(item, role=Role("test", label, kind), masks=own if label != "good" else ())
    return [changed.get(item.path, item) for item in placed]


def _by_name(paths: Iterable[PurePosixPath]) -> dict[str, list[PurePosixPath]]:
    found: dict[str, list[PurePosixPath]] = {}
    for path in paths:
        found.setdefault(path.name, []).append(path)
    return found


def _read_label(text: str) -> tuple[Label | None, str | None]:
    word = text.strip().lower().replace("-", "_").replace(" ", "_")
    if not word:
        return None, None
    if word in ("0", "false") or is_good_word(word):
        return "good", None
    if word in ("1", "true") or is_bad_word(word):
        return "defective", None
    return "defective", text.strip()


def _rows(table: Path, needed: Iterable[str]) -> list[dict[str, str]]:
    try:
        if table.stat().st_size > _MAX_BYTES:
            raise DatasetError(f"{table} has more than {_MAX_BYTES / 1e6:.0f} MB: is it the table of labels?")
        text = table.read_text(encoding="utf-8-sig")
        delimiter = ";" if text.partition("\n")[0].count(";") > text.partition("\n")[0].count(",") else ","
        rows = [
            {(key or "").strip().lower(): (value or "").strip() for key, value in row.items() if key is not None}
            for row in csv.DictReader(io.StringIO(text), delimiter=delimiter)
        ]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(f"{table} cannot be read as a table ({error}): save it as CSV in UTF-8.") from error
    missing = [name for name in needed if rows and name not in rows[0]]
    if missing or not rows:
        raise DatasetError(
            f"{table} has no {'column ' + missing[0] if missing else 'rows'}: use the data set's own file."
        )
    return rows


def _column(rows: Sequence[dict[str, str]], names: Sequence[str], table: Path) -> str:
    found = next((name for name in names if name in rows[0]), None)
    if found is None:
        raise DatasetError(f"{table} has no column {names[0]}: its columns are {printable(', '.join(rows[0]))}.")
    return found
