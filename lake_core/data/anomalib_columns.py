"""Columns by which anomalib's data sets are told, for tables that are to be read beside its own."""

from lake_core.types import Label

COLUMNS = ("image_path", "split", "label_index", "mask_path")
"""Of anomalib's tables of samples; `label_index` is 0 for good, 1 for defective."""
_INDEX: dict[Label | None, str] = {"good": "0", "defective": "1", None: ""}


def anomalib_row(image_path: str, label: Label | None, mask_path: str = "") -> tuple[str, str, str, str]:
    """A test image in these columns; what is not known is empty."""
    return image_path, "test", _INDEX[label], mask_path
