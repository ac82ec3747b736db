"""Where the files that come with the program lie: backbones, samples, concept words."""

from pathlib import Path

from lake_core.errors import LakeError


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
