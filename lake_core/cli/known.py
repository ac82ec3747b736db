"""What the paths of images tell of them: their labels, and the files of their masks."""

from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from lake_core.cli.console import Source
from lake_core.data.datasets import mask_folders
from lake_core.data.folders import list_images
from lake_core.data.labels import arrange, label_of, role_of
from lake_core.types import Label


class Known(NamedTuple):
    """What is known of an image; `masks` are the files that mark its defects."""

    label: Label | None
    kind: str | None
    masks: tuple[Path, ...] = ()

    @property
    def mask_path(self) -> str:
        """Its mask's file, or where there are several (MVTec LOCO) their folder; "" without one."""
        if not self.masks:
            return ""
        return str(self.masks[0] if len(self.masks) == 1 else self.masks[0].parent)


def labels_of(sources: Sequence[Source], top: str = "") -> dict[str, Known]:
    """By each image's name, what its path below the folder that was given tells.

    Where some lie in a folder such as `good`, the folders beside it are types of defects, as below MVTec's `test`.

    Args:
        top: Name of the folder itself, if it shall count.
    """
    return {source.name: Known(*label_of(PurePosixPath(_top(sources, top), source.name))) for source in sources}


def known_of(given: Path, sources: Sequence[Source]) -> Mapping[str, Known]:
    """The same with the masks that lie in the folder given or, as `ground_truth`, beside it."""
    if given.is_file():
        return labels_of(sources)
    top = given.resolve().name
    below = _top(sources, top)
    files = {PurePosixPath(below, source.name): source.path for source in sources}
    inside = [path.relative_to(given).as_posix() for path in list_images(given)]
    files |= {PurePosixPath(below, name): given / name for name in inside if _is_mask(name)}
    for folder in mask_folders(given.parent):
        files |= {PurePosixPath(folder.name, path.relative_to(folder).as_posix()): path for path in list_images(folder)}
    masks = {item.path: tuple(files[mask] for mask in item.masks) for item in arrange(files)}
    found = labels_of(sources, top)
    return {name: known._replace(masks=masks[PurePosixPath(below, name)]) for name, known in found.items()}


def _top(sources: Sequence[Source], top: str) -> str:
    some_are_good = any(label_of(PurePosixPath(source.name))[0] == "good" for source in sources)
    return "test" if some_are_good else top


def _is_mask(name: str) -> bool:
    return role_of(PurePosixPath(name)).role == "mask"
