"""The maps and pages that `lake score` draws: one file of each for every test image, all on one scale."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from PIL import Image

from lake_core.detector.lake import Lake
from lake_core.detector.result import ImageResult
from lake_core.errors import writing
from lake_core.visualization.colours import ScoreScale, score_scale
from lake_core.visualization.legends import colour_bar
from lake_core.visualization.overlays import Style, overlay

_STYLE = Style(max_side=768)
_THRESHOLDS_SHOWN = 3


@dataclass(frozen=True)
class Drawing:
    """How results become files.

    Attributes:
        out: The folder of results.
        maps, pages: The file of each image below maps/ and html/, by its name; no pages where none are asked for.
        scale: Of all maps.
    """

    out: Path
    maps: Mapping[str, str]
    pages: Mapping[str, str]
    scale: ScoreScale

    @classmethod
    def of(cls, names: Sequence[str], out: Path, scale: ScoreScale, with_pages: bool) -> "Drawing":
        """For all test images, by their names."""
        maps, pages = (dict(zip(names, file_names(names, suffix), strict=True)) for suffix in (".png", ".html"))
        return cls(out, maps, pages if with_pages else {}, scale)

    def draw(self, names: Sequence[str], results: Sequence[ImageResult]) -> None:
        """Writes the maps and pages of a few images.

        Raises:
            LakeError: if one cannot be written.
        """
        for name, result in zip(names, results, strict=True):
            with _written(self.out / "maps" / self.maps[name]) as path:
                of_patches = result.patch_scores
                drawn = overlay(result.image, result.map, of_patches.grid, of_patches.placement, self.scale, _STYLE)
                drawn.save(path)
            if name in self.pages:
                with _written(self.out / "html" / self.pages[name]) as path:
                    result.save_html(path)


def scale_beforehand(lake: Lake) -> ScoreScale:
    """The scale of all maps, known before any test image is: from 0 to about three thresholds.

    Whether values are greater than its end (`is_open`) is known when all images are scored.
    """
    return score_scale([_THRESHOLDS_SHOWN * lake.threshold_, lake.normal_scores_], lake.threshold_)


def file_names(names: Sequence[str], suffix: str) -> list[str]:
    """The path below maps/ or html/ for each image: its own with that suffix.

    Where two would be one, the suffix is added to their whole names.
    """
    replaced = [PurePosixPath(name).with_suffix(suffix).as_posix() for name in names]
    n_of = Counter(name.casefold() for name in replaced)
    return [
        new if n_of[new.casefold()] == 1 or name == new else f"{name}{suffix}"
        for name, new in zip(names, replaced, strict=True)
    ]


def legend(scale: ScoreScale) -> Image.Image:
    """The maps' legend on white, with a margin, as a file of its own."""
    bar = colour_bar(scale)
    on_white = Image.new("RGB", (bar.width + 24, bar.height + 24), "white")
    on_white.paste(bar, (12, 12), bar)
    return on_white


@contextmanager
def _written(path: Path) -> Iterator[Path]:
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        yield path
