"""The files that come with the program, and the sample data sets among them."""

from pathlib import Path

from lake_core.data.datasets import Dataset, read_folder
from lake_core.data.folders import categories
from lake_core.errors import DatasetError, LakeError


def assets_folder() -> Path:
    """`lake_core/assets` of an installed package, else `assets` beside the package in a checkout.

    Raises:
        LakeError: if there is neither.
    """
    package = Path(__file__).resolve().parents[1]
    for folder in (package / "assets", package.parent / "assets"):
        if folder.is_dir():
            return folder
    raise LakeError(f"The files that come with the program are missing from {package}: install it again.")


def samples_if_named(folder: Path) -> Path:
    """The folder of the built-in samples for the name `samples`, unless there is a folder of that name here."""
    return assets_folder() / "samples" if str(folder) == "samples" and not folder.exists() else folder


def sample_names() -> tuple[str, ...]:
    """The names of the built-in samples."""
    return tuple(folder.name for folder in categories(assets_folder() / "samples"))


def load_sample(name: str) -> Dataset:
    """Read a built-in sample.

    Raises:
        DatasetError: if there is none of that name.
    """
    if name not in sample_names():
        raise DatasetError(f"There is no sample '{name}': choose one of {', '.join(sample_names()) or '(none)'}.")
    return read_folder(assets_folder() / "samples" / name, name)
