"""How a folder of data sets is understood: `lake datasets inspect`."""

import os
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePosixPath

from lake_core.data.folders import Entry, categories, files_below, folders_left_out, index_folder
from lake_core.data.images import read_image
from lake_core.data.label_tables import LABELS_TABLE, table_of, visa_table
from lake_core.data.labels import is_image_name, is_part_folder
from lake_core.data.masks import united_mask
from lake_core.errors import DatasetError, ImageError


@dataclass(frozen=True)
class Category:
    """One data set as it was understood; plain values.

    Attributes:
        layout: Whose layout its folders follow, as a phrase.
        kinds: Kind of defect -> number of test images.
        n_unlabelled: Test images of which nothing says whether they are good; they are scored by nothing.
        n_masked: Defective test images with a mask; missing_masks names those without.
        sizes: "width x height" -> number of images.
        duplicates: Groups of names with the same bytes.
        leaks: Test images that are also among the normal ones.
        problems: One sentence for each file that cannot be used.
        ignored: Files that take no part.
    """

    name: str
    layout: str
    n_normal: int
    n_test_good: int
    n_test_defective: int
    n_unlabelled: int
    n_masked: int
    kinds: dict[str, int]
    missing_masks: list[str] = field(repr=False)
    sizes: dict[str, int]
    duplicates: list[list[str]]
    leaks: list[str]
    problems: list[str]
    ignored: list[str] = field(repr=False)

    def as_dict(self) -> dict[str, object]:
        """Plain values for JSON."""
        return asdict(self)


def inspect(root: Path, on_progress: Callable[[str, int, int], None] | None = None) -> tuple[list[Category], list[str]]:
    """All data sets in a folder, and what lies beside them and takes no part.

    Every image and mask is opened, one at a time.

    Args:
        root: A data set, or a folder of data sets.
        on_progress: Called after each image with the category, images done and images in all.
    Raises:
        DatasetError: if the folder is missing or holds no data set.
    """
    found = categories(root)
    if not found:
        raise DatasetError(f"{root} holds no data set: put normal images into NAME/train/good or NAME/normal.")
    tables = [os.path.realpath(table) for folder in found if (table := table_of(folder)) is not None]
    beside = [
        path
        for path in (files_below(root) if found != [root] else [])
        if not _is_below(root / path, found) and os.path.realpath(root / path) not in tables
    ]
    folders = sorted({path.parts[0] + "/" * (len(path.parts) > 1) for path in beside})
    return [_inspected(folder, on_progress) for folder in found], folders


def _inspected(folder: Path, on_progress: Callable[[str, int, int], None] | None) -> Category:
    name = folder.resolve().name
    try:
        entries = index_folder(folder)
    except DatasetError as error:  # the others can still be inspected
        return _unusable(name, str(error))
    sizes: Counter[str] = Counter()
    by_hash: dict[str, list[Entry]] = {}
    problems = []
    for n_done, entry in enumerate(entries, start=1):
        try:
            image = read_image(entry.path, entry.name)
            sizes[f"{image.original_size[0]} x {image.original_size[1]}"] += 1
            by_hash.setdefault(image.sha256, []).append(entry)
            names = [mask.relative_to(folder).as_posix() for mask in entry.masks]
            mask = united_mask(entry.masks, image.size, names)
            if mask is not None and not mask.any():
                problems.append(f"{', '.join(names)} marks nothing: all pixels of {entry.name} count as good.")
        except ImageError as error:
            problems.append(str(error))
        if on_progress is not None:
            on_progress(name, n_done, len(entries))
    problems += folders_left_out(folder, files_below(folder))
    tests = [entry for entry in entries if entry.role == "test"]
    defective = [entry for entry in tests if entry.label == "defective"]
    copies = [alike for alike in by_hash.values() if len(alike) > 1]
    used = {folder / LABELS_TABLE, *(path for entry in entries for path in (entry.path, *entry.masks))}
    return Category(
        name=name,
        layout=_layout(folder, entries),
        n_normal=sum(entry.role == "normal" for entry in entries),
        n_test_good=sum(entry.label == "good" for entry in tests),
        n_test_defective=len(defective),
        n_unlabelled=sum(entry.label is None for entry in tests),
        n_masked=sum(bool(entry.masks) for entry in defective),
        kinds=dict(sorted(Counter(entry.kind or "defective" for entry in defective).items())),
        missing_masks=[entry.name for entry in defective if not entry.masks],
        sizes=dict(sizes.most_common()),
        duplicates=[[entry.name for entry in alike] for alike in copies],
        leaks=[
            entry.name
            for alike in copies
            if any(other.role == "normal" for other in alike)
            for entry in alike
            if entry.role == "test"
        ],
        problems=problems,
        ignored=[path.as_posix() for path in files_below(folder) if folder / path not in used],
    )


def _unusable(name: str, problem: str) -> Category:
    return Category(name, "cannot be used", 0, 0, 0, 0, 0, {}, [], {}, [], [], [problem], [])


def _layout(folder: Path, entries: Sequence[Entry]) -> str:
    if visa_table(folder) is not None:
        return "VisA, split by its split_csv/1cls.csv"
    if (folder / "Data" / "Images").is_dir():
        return "VisA without its split: all normal images are for learning, none is left to test"
    if (folder / LABELS_TABLE).is_file():
        return "plain folders with labels.csv"
    if any(len(entry.masks) > 1 or _has_own_folder(entry) for entry in entries):
        return "MVTec LOCO: a folder of masks for each image"
    normals = {PurePosixPath(entry.name).parts[:2] for entry in entries if entry.role == "normal"}
    if all(len(parts) == 2 and parts[0].lower() == "train" for parts in normals):
        if {parts[1].lower() for parts in normals} == {"ok"}:
            return "BTAD: train/ok and test/ko"
        if {parts[1].lower() for parts in normals} == {"good"}:
            return "MVTec AD: train/good and test/<kind>"
    return "plain folders"


def _has_own_folder(entry: Entry) -> bool:
    stem = PurePosixPath(entry.name).stem
    return any(mask.parent.name == stem and not is_part_folder(stem) for mask in entry.masks)


def _is_below(path: Path, folders: Sequence[Path]) -> bool:
    return any(path.is_relative_to(folder) for folder in folders)


def lines(found: Sequence[Category], beside: Sequence[str]) -> list[str]:
    """The report, line by line."""
    report = []
    for category in found:
        report += [f"{category.name}: {category.layout}"]
        if not category.n_normal and category.problems:
            report += [f"  WARNING: {problem}" for problem in category.problems]
            continue
        kinds = ", ".join(f"{kind} {n}" for kind, n in category.kinds.items())
        report.append(
            f"  normal {category.n_normal}; test: good {category.n_test_good}, defective "
            f"{category.n_test_defective}{f' ({kinds})' if kinds else ''}"
            + f", without a label {category.n_unlabelled}"
            * bool(category.n_unlabelled)
        )
        sizes = [f"{size} ({n})" for size, n in category.sizes.items()]
        report.append(f"  sizes: {_some(sizes) or 'none could be read'}")
        report.append(
            f"  masks: {category.n_masked} of {category.n_test_defective} defective images"
            + f"; none for {_some(category.missing_masks)}" * bool(category.missing_masks)
        )
        for copies in category.duplicates[:5]:
            report.append(f"  the same bytes: {_some(copies)}")
        if category.leaks:
            report.append(f"  WARNING: test images that are also among the normal ones: {_some(category.leaks)}")
        report += [f"  WARNING: {problem}" for problem in category.problems]
        if not (category.n_test_good and category.n_test_defective):
            report.append("  WARNING: AUROC, AP and F1 need labelled test images of both kinds, good and defective")
        if category.ignored:
            n, n_images = len(category.ignored), sum(is_image_name(PurePosixPath(p)) for p in category.ignored)
            report.append(
                f"  ignored: {n} file{'s' * (n > 1)} ({n_images} image{'s' * (n_images != 1)}): "
                f"{_some(category.ignored)}"
            )
    if beside:
        report.append(f"Beside the data sets, ignored: {_some(beside)}")
    return report


def _some(names: Sequence[str], n: int = 5) -> str:
    return ", ".join(names[:n]) + (f" and {len(names) - n} more" if len(names) > n else "")
