"""Scores of a project computed again, and what differs where they do not agree."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from typing import NamedTuple

from lake_core.backbones.backbone import Backbone
from lake_core.backbones.devices import device_name
from lake_core.backbones.registry import SHIPPED
from lake_core.backbones.weights import name_without_path, weights_digests
from lake_core.data.datasets import Dataset
from lake_core.detector.lake import Lake
from lake_core.detector.result import ImageResult
from lake_core.errors import LakeError, ProjectError
from lake_core.projects.manifest import MadeWith, Manifest, SavedScores, checked
from lake_core.projects.project import Project
from lake_core.types import Progress
from lake_core.version import METHOD_VERSION, package_version

TOLERANCE = 1e-4
"""Relative difference up to which two scores agree: what float32 leaves open."""
_NO_SCORES = "The project holds no scores, so there is nothing to compare: run it and save it again."
_PACKAGES = ("torch", "open_clip_torch", "timm")


class Difference(NamedTuple):
    """A number then and now.

    Attributes:
        what: What it is.
        then, now: In the project, and computed again.
        score: The score that it is a part of: parts are compared on its scale, as their own may be rounding alone.
    """

    what: str
    then: float
    now: float
    score: float

    @property
    def relative(self) -> float:
        """|now - then| / |score|, where nothing is divided by less than a thousandth of what a normal patch reaches."""
        return abs(self.now - self.then) / max(abs(self.score), 1e-3)


@dataclass(frozen=True)
class Verification:
    """What came of computing a project's scores again.

    Attributes:
        n_numbers: Scores compared: the threshold, one of each normal image and three of each test image.
        differences: Those that differ by more than TOLERANCE, greatest first.
        causes: What differs besides, one sentence each: backbone, weights, versions, device.
        fault: Why the scores cannot be computed with this backbone; "" where they were.
    """

    n_numbers: int
    differences: tuple[Difference, ...]
    causes: tuple[str, ...]
    fault: str = ""

    @property
    def agrees(self) -> bool:
        return not self.differences and not self.fault

    def sentences(self) -> list[str]:
        """What is said of it: whether the scores agree, and what differs."""
        if self.fault:
            return [f"The scores cannot be computed here: {self.fault}", *self.causes]
        if self.agrees:
            return [f"All {self.n_numbers} numbers agree to {TOLERANCE:g}.", *self.causes]
        worst = self.differences[0]
        return [
            f"{len(self.differences)} of {self.n_numbers} numbers differ by more than {TOLERANCE:g}; most of all "
            f"{worst.what}: {worst.then:.6g} in the project, {worst.now:.6g} now.",
            *(self.causes or ("Weights, versions and device are the same.",)),
        ]


def made_with(spec: str, device: str) -> MadeWith:
    """What scores that are computed here and now depend on.

    Args:
        spec: Of the backbone.
        device: Where it runs, as from `device_name`.
    """
    versions = {"lake-explorer": package_version()} | {name: version(name) for name in _PACKAGES}
    known = {"versions": versions, "method": METHOD_VERSION, "device": device, "weights": weights_digests(spec)}
    return checked(MadeWith, known)


def scores_of(lake: Lake, results: Sequence[ImageResult]) -> SavedScores:
    """The scores of a fitted detector and of the test images that it has scored.

    Args:
        lake: Its threshold must be the normal images'.
    """
    normals = zip(lake.normals_, lake.normal_scores_.tolist(), strict=True)
    return checked(
        SavedScores,
        {
            "threshold": lake.with_threshold(None).threshold_,
            "normals": {image.sha256: score for image, score in normals},
            "tests": {
                one.image.sha256: {"score": one.score, "visual": one.visual, "text": one.text} for one in results
            },
        },
    )


def opens_by_itself(spec: str) -> bool:
    """Whether a project may name a backbone to be opened where nobody has chosen one.

    Those that come with the program, and open_clip's pretrained tags. A repository of anybody's, and files of another
    machine, are opened only for who names them.
    """
    return spec in SHIPPED or not spec.startswith(("hf-hub:", "local-dir:", "checkpoint:"))


def check(project: Project, backbone: Backbone, on_progress: Progress | None = None) -> Verification:
    """Computes the scores of a project again and compares.

    Args:
        backbone: Opened as the project's configuration says.
        on_progress: Called with images done and in all; may raise to cancel.
    Raises:
        ProjectError: if the project holds no scores, or an image in it cannot be decoded.
    """
    manifest = project.manifest
    if manifest.scores is None:
        raise ProjectError(_NO_SCORES)
    dataset = project.dataset()
    here = made_with(backbone.spec, device_name(backbone.device))
    try:
        now = _scores(Lake(backbone, manifest.configuration.config()), dataset, on_progress)
    except LakeError as error:  # a layer that this backbone lacks, or nothing varies in it
        found = Verification(0, (), tuple(causes(manifest.made_with, here)), str(error))
    else:
        found = compare(manifest, now, here)
    configuration = manifest.configuration
    network = {
        "backbone": (configuration.spec, name_without_path(backbone.spec)),
        "input size": (configuration.image_size or backbone.input_size[0], backbone.input_size[0]),
    }
    differing = [
        f"The {what} differs: {then} in the project, {now} here."
        for what, (then, now) in network.items()
        if then != now
    ]
    return replace(found, causes=(*differing, *found.causes))


def compare(manifest: Manifest, now: SavedScores, here: MadeWith) -> Verification:
    """Compares the scores of a project with others of the same images.

    Args:
        here: What these depend on.
    Raises:
        ProjectError: if the project holds no scores.
    """
    if manifest.scores is None:
        raise ProjectError(_NO_SCORES)
    compared = list(_compared(manifest, manifest.scores, now))
    differing = sorted((one for one in compared if one.relative > TOLERANCE), key=lambda one: -one.relative)
    return Verification(len(compared), tuple(differing), tuple(causes(manifest.made_with, here)))


def causes(then: MadeWith, now: MadeWith) -> Iterator[str]:
    """One sentence for each thing that scores depend on and that differs."""
    if then.weights and now.weights and set(then.weights.values()) != set(now.weights.values()):
        yield "The model's files differ: " + "; ".join(_differing_files(then.weights, now.weights)) + "."
    if then.method != now.method:
        yield f"The version of the method differs: {then.method} in the project, {now.method} here."
    for name in sorted({*then.versions, *now.versions}):
        own, other = then.versions.get(name, "none"), now.versions.get(name, "none")
        if own != other:
            yield f"The version of {name} differs: {own} in the project, {other} here."
    if then.device != now.device:
        yield f"The device differs: {then.device} in the project, {now.device} here."


def _scores(lake: Lake, dataset: Dataset, on_progress: Progress | None) -> SavedScores:
    normals, tests = ([example.image for example in side] for side in (dataset.normals, dataset.tests))
    lake.store.ensure([*normals, *tests], lake.hook_points, on_progress)
    return scores_of(lake.fit(normals), lake.explain_all(tests))


def _compared(manifest: Manifest, then: SavedScores, now: SavedScores) -> Iterator[Difference]:
    yield Difference("the threshold", then.threshold, now.threshold, then.threshold)
    for image in manifest.normals:
        what = f"the score of the normal image {image.name}"
        score = then.normals[image.sha256]
        yield Difference(what, score, now.normals[image.sha256], score)
    for image in manifest.tests:
        own, other = then.tests[image.sha256], now.tests[image.sha256]
        yield Difference(f"the score of {image.name}", own.score, other.score, own.score)
        yield Difference(f"the visual part of {image.name}", own.visual, other.visual, own.score)
        yield Difference(f"the text part of {image.name}", own.text, other.text, own.score)


def _differing_files(then: dict[str, str], now: dict[str, str]) -> Iterator[str]:
    for name in sorted({*then, *now}):
        own, other = then.get(name, ""), now.get(name, "")
        if own != other:
            yield f"{name} has sha256 {own[:12] or 'none'} … in the project, {other[:12] or 'none'} … here"
