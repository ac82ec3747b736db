"""What `lake score` does: learn from a few normal images, score any number of others, write tables and maps.

Only a few test images are held at once: scores and maps are kept, and images are read again to be drawn.
"""

import csv
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path, PurePosixPath
from typing import Any, cast

import numpy as np
import torch
import typer
from PIL import Image

from lake_core.backbones.backbone import Backbone
from lake_core.backbones.devices import checked_device
from lake_core.backbones.opening import open_backbone
from lake_core.backbones.patch_grid import PatchGrid, Placement, Resize
from lake_core.backbones.process import limit_threads
from lake_core.cli.console import Reporter, Source, list_sources, write_json
from lake_core.config import LakeConfig
from lake_core.data.images import read_image
from lake_core.data.labels import label_of
from lake_core.detector.contributions import SCHEMA, contributions_document
from lake_core.detector.lake import Lake
from lake_core.detector.result import ImageResult
from lake_core.errors import ConfigError, ImageError, LakeError, writing
from lake_core.sentences import sentence
from lake_core.version import package_version
from lake_core.visualization.colours import ScoreScale, score_scale
from lake_core.visualization.legends import colour_bar
from lake_core.visualization.overlays import Style, overlay

COLUMNS = ("path", "score", "visual", "text", "threshold", "is_anomalous")
_CHUNK = 8
_MAP_SIDE = 768


@dataclass(frozen=True)
class Request:
    """What was asked for on the command line; `parameters` are those of `LakeConfig` that were given."""

    normal: Path
    test: Path
    out: Path
    model: str
    image_size: int | None
    resize: str
    device: str
    parameters: Mapping[str, Any]
    contributions: bool = False
    html: bool = False


@dataclass(frozen=True, eq=False)
class Scored:
    """What is kept of a test image."""

    source: Source
    sha256: str
    score: float
    visual: float
    text: float
    is_anomalous: bool
    map: np.ndarray
    grid: PatchGrid
    placement: Placement
    contributions_document: dict[str, Any] | None


def run(request: Request) -> None:
    """Scores, and writes scores.csv, config.json, scale.png, maps/ and, if asked for, contributions.json and html/.

    Raises:
        ConfigError, BackboneError: if something was asked for that cannot be.
        LakeError: if nothing could be scored.
    """
    limit_threads()
    _check(request)
    config = LakeConfig(**request.parameters)
    normals = list_sources(request.normal, "--normal", request.out)
    tests = list_sources(request.test, "--test", request.out)
    backbone = open_backbone(
        request.model, image_size=request.image_size, resize=cast(Resize, request.resize), device=request.device
    )
    lake = Lake(backbone, config)
    _make_folder(request.out)

    reporter = Reporter()
    for note in backbone.notes:
        reporter.note(note)
    with reporter.progress:
        _fit(lake, normals, reporter)
        scored = _score(lake, tests, reporter, request)
        scale = score_scale([item.map for item in scored], lake.threshold_)
        with writing(request.out):
            write_scores(request.out / "scores.csv", scored, lake.threshold_)
            write_json(request.out / "config.json", settings(request, lake, scale, reporter))
            if request.contributions:
                documents = [{"path": item.source.name} | (item.contributions_document or {}) for item in scored]
                write_json(request.out / "contributions.json", {"schema": SCHEMA, "images": documents})
            _legend(scale).save(request.out / "scale.png")
            _draw(request.out / "maps", scored, scale, reporter)

    n_above = sum(item.is_anomalous for item in scored)
    skipped = f", {len(reporter.skipped)} skipped" if reporter.skipped else ""
    typer.echo(f"{len(scored)} of {len(tests)} images scored, {n_above} above {lake.threshold_:.4g}{skipped}.")
    asked_for = {"contributions.json": request.contributions, "html": request.html}
    written = ["scores.csv", "maps", "config.json", *(name for name, is_asked in asked_for.items() if is_asked)]
    typer.echo(f"Results: {', '.join(str(request.out / name) for name in written)}")


def write_scores(path: Path, scored: Sequence[Scored], threshold: float) -> None:
    """One row for each image."""
    with path.open("w", newline="", encoding="utf-8", errors="backslashreplace") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(COLUMNS)
        for item in scored:
            table.writerow((item.source.name, item.score, item.visual, item.text, threshold, item.is_anomalous))


def settings(request: Request, lake: Lake, scale: ScoreScale, reporter: Reporter) -> dict[str, Any]:
    """Everything that is needed to repeat the run; `LakeConfig.from_dict` reads the part "config"."""
    backbone: Backbone = lake.backbone
    packages = ("open_clip_torch", "timm")
    return {
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
        "versions": {
            "lake-explorer": package_version(),
            **{name: version(name) for name in packages},
            "torch": torch.__version__,
        },
        "spec": backbone.spec,
        "image_size": backbone.input_size[0],
        "resize": backbone.resize,
        "device": backbone.device.type,
        "config": lake.config.as_dict(),
        "normal": str(_root(request.normal)),
        "test": str(_root(request.test)),
        "normals": [
            {"path": image.name, "sha256": image.sha256, "score": score}
            for image, score in zip(lake.normals_, lake.normal_scores_.tolist(), strict=True)
        ],
        "threshold": lake.threshold_,
        "scale": asdict(scale),
        "skipped": [one._asdict() for one in reporter.skipped],
        "notes": reporter.notes,
    }


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


def _check(request: Request) -> None:
    if request.resize not in ("squash", "letterbox"):
        raise ConfigError(f"--resize is {request.resize!r}; it must be squash or letterbox.")
    checked_device(request.device)


def _root(given: Path) -> Path:
    return given.resolve() if given.is_dir() else given.resolve().parent


def _make_folder(out: Path) -> None:
    try:
        (out / "maps").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"--out {out} cannot be made ({error.strerror}); give a folder that can.") from None


def _fit(lake: Lake, normals: Sequence[Source], reporter: Reporter) -> None:
    on_progress = reporter.bar("Learning what is normal", len(normals))
    images = reporter.read(normals, "normal")
    if not images:
        raise LakeError("None of the normal images can be read, so there is nothing to learn from.")
    defective = [source.name for source, _ in images if label_of(PurePosixPath(source.name))[0] == "defective"]
    if defective:
        reporter.note(f"{len(defective)} of the normal images lie in folders named for defects, as {defective[0]}.")
    lake.fit([image for _, image in images], on_progress)
    for warning in lake.memory_bank_.warnings:
        reporter.note(sentence(warning))
    for layer, selection in lake.selection_.items():
        if lake.config.k_of(layer) >= selection.n_neurons:
            reporter.note(f"All {selection.n_neurons} neurons of layer {layer} are kept: nothing is selected.")
    if len(lake.normals_) == 1:
        reporter.note("With a single normal image the threshold is a rough guess; give at least four.")


def _score(lake: Lake, tests: Sequence[Source], reporter: Reporter, request: Request) -> list[Scored]:
    on_progress = reporter.bar("Scoring", len(tests))
    names = [source.name for source in tests]
    pages = dict(zip(names, file_names(names, ".html"), strict=True))
    normals = {image.sha256: image.name for image in lake.normals_}
    scored: list[Scored] = []
    for start in range(0, len(tests), _CHUNK):
        chunk = tests[start : start + _CHUNK]
        pairs = reporter.read(chunk, "test")
        results = lake.explain_all([image for _, image in pairs])
        for (source, _), result in zip(pairs, results, strict=True):
            scored.append(_kept(source, result, request.contributions))
            if request.html:
                _write_page(result, request.out / "html" / pages[source.name])
        on_progress(start + len(chunk), len(tests))
    if not scored:
        raise LakeError("None of the test images can be read, so there is nothing to score.")
    seen = [item.source.name for item in scored if item.sha256 in normals]
    if seen:
        reporter.note(
            f"{len(seen)} of the test images are also among the normal ones, as {seen[0]}: "
            "their scores say nothing about new images."
        )
    return scored


def _write_page(result: ImageResult, path: Path) -> None:
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    result.save_html(path)


def _kept(source: Source, result: ImageResult, with_contributions: bool) -> Scored:
    patch_scores = result.patch_scores
    return Scored(
        source,
        result.image.sha256,
        result.score,
        result.visual,
        result.text,
        result.is_anomalous,
        result.map,
        patch_scores.grid,
        patch_scores.placement,
        contributions_document(result) if with_contributions else None,
    )


def _draw(folder: Path, scored: Sequence[Scored], scale: ScoreScale, reporter: Reporter) -> None:
    on_progress = reporter.bar("Drawing maps", len(scored))
    names = file_names([item.source.name for item in scored], ".png")
    for n_drawn, (item, name) in enumerate(zip(scored, names, strict=True), start=1):
        path = folder / name
        try:
            image = read_image(item.source.path, item.source.name)
        except ImageError as error:
            reporter.say(f"No map drawn: {error}")
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            overlay(image, item.map, item.grid, item.placement, scale, Style(max_side=_MAP_SIDE)).save(path)
        on_progress(n_drawn, len(scored))


def _legend(scale: ScoreScale) -> Image.Image:
    """The maps' legend on white, with a margin, as a file of its own."""
    bar = colour_bar(scale)
    legend = Image.new("RGB", (bar.width + 24, bar.height + 24), "white")
    legend.paste(bar, (12, 12), bar)
    return legend
