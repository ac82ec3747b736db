"""What `lake score` does: learn from a few normal images, score any number of others, write tables and maps.

Images are read a few at a time beside the network, scored, drawn and let go, so that memory does not grow with their
number. What is finished is kept on the way: `--resume` goes on from there.
"""

import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple, cast

import numpy as np
import torch

from lake_core.backbones.backbone import Backbone
from lake_core.backbones.batch_size import BATCH_ON_CPU
from lake_core.backbones.devices import checked_device
from lake_core.backbones.feature_store import FeatureStore
from lake_core.backbones.opening import Opening
from lake_core.backbones.patch_grid import Resize
from lake_core.backbones.process import limit_threads
from lake_core.cli.console import Reporter, Skipped, Source, check_output, list_sources, read_sources
from lake_core.cli.known import Known, known_of
from lake_core.cli.request import Request
from lake_core.cli.score_files import Chunk, ScoredImage, ScoreFiles, ScoreFingerprint
from lake_core.cli.score_maps import Drawing, legend, scale_beforehand
from lake_core.cli.score_report import Scored, report_of
from lake_core.cli.terminal import say
from lake_core.config import LakeConfig
from lake_core.data.images import InputImage
from lake_core.data.labels import label_of
from lake_core.detector.contributions import contributions_document
from lake_core.detector.lake import Lake
from lake_core.detector.result import ImageResult
from lake_core.detector.streaming import explain_once
from lake_core.errors import ConfigError, LakeError, writing
from lake_core.evaluation.loading import ahead
from lake_core.reports.content import Folders, Row
from lake_core.reports.document import save
from lake_core.sentences import sentence
from lake_core.version import package_version
from lake_core.visualization.colours import ScoreScale


@dataclass(frozen=True)
class ScoreRequest(Request):
    """What `lake score` was asked for."""

    contributions: bool = False
    html: bool = False
    resume: bool = False
    report: Path | None = None


class _Read(NamedTuple):
    """A few test images, also as the model's input, (3, height, width) each, and what could not be read."""

    images: list[tuple[Source, InputImage]]
    pixels: list[torch.Tensor]
    skipped: list[Skipped]


def run(request: ScoreRequest) -> None:
    """Scores, and writes scores.csv, config.json, scale.png and maps/; if asked for contributions.json, html/, report.

    Raises:
        ConfigError, BackboneError: if something was asked for that cannot be.
        LakeError: if nothing could be scored.
    """
    limit_threads()
    _check(request)
    files = ScoreFiles(request.out, request.resume)
    files.check()
    config = LakeConfig(**request.parameters)
    normals = list_sources(request.normal, "--normal", request.out)
    tests = list_sources(request.test, "--test", request.out)
    opening = Opening(request.model, request.image_size, cast(Resize, request.resize), request.device)
    backbone = opening.open()
    lake = Lake(backbone, config, FeatureStore(backbone, batch_size=BATCH_ON_CPU))
    _make_folder(request.out)

    reporter = Reporter()
    for note in backbone.notes:
        reporter.note(note)
    for given in (request.normal, request.test):
        reporter.note_folders(given)
    with reporter.progress:
        _fit(lake, normals, reporter)
        known = known_of(request.test, tests)
        beside = {source.name: (source, known[source.name]) for source in tests}
        asked = ScoreFingerprint.of(opening, lake, tests, request.contributions, request.html)
        files.begin(asked, lake, beside)
        reporter.skipped.extend(files.skipped)
        if files.n_done:
            reporter.say(f"{files.n_done} of {len(tests)} test images are done already.")
        scale = scale_beforehand(lake)
        drawing = Drawing.of([source.name for source in tests], request.out, scale, with_pages=request.html)
        _score(lake, tests, drawing, files, reporter)
        scale = replace(scale, is_open=files.greatest > scale.vmax)
        with writing(request.out):
            legend(scale).save(request.out / "scale.png")
        if request.report is not None:
            sources = {source.name: source for source in tests}
            scored = Scored(lake, sources, _rows(files, known), scale, _folders(request))
            save(report_of(scored, reporter), request.report)
        files.finish(settings(request, lake, scale, reporter))

    skipped = f", {len(reporter.skipped)} skipped" if reporter.skipped else ""
    say(f"{files.n_scored} of {len(tests)} images scored, {files.n_above} above {lake.threshold_:.4g}{skipped}.")
    asked_for = {"contributions.json": request.contributions, "html": request.html}
    written = ["scores.csv", "maps", "config.json", *(name for name, is_asked in asked_for.items() if is_asked)]
    report = [] if request.report is None else [str(request.report)]
    say(f"Results: {', '.join([*(str(request.out / name) for name in written), *report])}")


def settings(request: ScoreRequest, lake: Lake, scale: ScoreScale, reporter: Reporter) -> dict[str, Any]:
    """Everything that is needed to repeat the run; `LakeConfig.from_dict` reads the part "config"."""
    backbone: Backbone = lake.backbone
    packages = ("open_clip_torch", "timm")
    return {
        "command": [Path(sys.argv[0]).name, *(word for word in sys.argv[1:] if word != "--resume")],
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


def _check(request: ScoreRequest) -> None:
    if request.resize not in ("squash", "letterbox"):
        raise ConfigError(f"--resize is {request.resize!r}; it must be squash or letterbox.")
    checked_device(request.device)
    if request.report is not None:
        if request.report.suffix.lower() != ".html":
            raise ConfigError(f"--report is {str(request.report)!r}; it must be the name of a file that ends in .html.")
        if request.report.resolve().parent != request.out.resolve():
            check_output(request.report)


def _root(given: Path) -> Path:
    return given.resolve() if given.is_dir() else given.resolve().parent


def _folders(request: ScoreRequest) -> Folders:
    """The folders of images, named without their paths: the report is for others, too."""
    return Folders(_root(request.normal).name, _root(request.test).name)


def _rows(files: ScoreFiles, known: Mapping[str, Known]) -> list[Row]:
    """The numbers of all test images, for the report."""
    return [
        Row(one.path, one.score, one.visual, one.text, one.is_anomalous, known[one.path].label)
        for chunk in files.chunks()
        for one in chunk.scored
    ]


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


def _score(lake: Lake, tests: Sequence[Source], drawing: Drawing, files: ScoreFiles, reporter: Reporter) -> None:
    """Scores the images that are not done yet; those before and after are read and drawn beside the network."""
    on_progress = reporter.bar("Scoring", len(tests))
    on_progress(files.n_done, len(tests))

    def keep(chunk: Chunk, drawn: Future[None]) -> None:
        drawn.result()
        files.add(chunk)
        on_progress(files.n_done, len(tests))

    with ThreadPoolExecutor(1, "lake-read") as readers, ThreadPoolExecutor(1, "lake-draw") as drawers:
        chunks = (tests[start : start + BATCH_ON_CPU] for start in range(files.n_done, len(tests), BATCH_ON_CPU))
        before: tuple[Chunk, Future[None]] | None = None
        with closing(ahead(chunks, lambda chunk: readers.submit(_read, lake, chunk))) as begun:
            for reading in begun:
                read = reading.result()
                reporter.skip(read.skipped)
                results = explain_once(lake, [image for _, image in read.images], read.pixels)
                if before is not None:
                    keep(*before)
                chunk = _chunk(read, results, files.keeps_contributions)
                before = chunk, drawers.submit(drawing.draw, [source.name for source, _ in read.images], results)
            if before is not None:
                keep(*before)
    if not files.n_scored:
        files.abandon()
        raise LakeError("None of the test images can be read, so there is nothing to score.")
    if files.n_seen:
        reporter.note(
            f"{files.n_seen} of the test images {'is' if files.n_seen == 1 else 'are'} also among the normal ones, "
            f"such as {files.first_seen}: such a score says nothing about new images."
        )


def _read(lake: Lake, sources: Sequence[Source]) -> _Read:
    images, skipped = read_sources(sources, "test")
    return _Read(images, [lake.backbone.prepare(image) for _, image in images], skipped)


def _chunk(read: _Read, results: Sequence[ImageResult], with_contributions: bool) -> Chunk:
    scored = [
        ScoredImage(
            path=source.name,
            sha256=result.image.sha256,
            score=result.score,
            visual=result.visual,
            text=result.text,
            is_anomalous=result.is_anomalous,
            greatest=float(np.nanmax(result.map)),
            contributions=contributions_document(result) if with_contributions else None,
        )
        for (source, _), result in zip(read.images, results, strict=True)
    ]
    return Chunk(scored=tuple(scored), skipped=tuple(read.skipped))
