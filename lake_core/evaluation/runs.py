"""The runs of one category, wherever its images come from: detectors are fitted, score every test image, are measured.

Test images arrive in batches, are scored by all detectors and let go. What stays of each in memory are its name, its
scores and, for pixel metrics, its mask as runs of pixels; its maps on the patch grid go into a temporary file.
"""

import time
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from itertools import chain, product
from typing import Any, NamedTuple

from lake_core.backbones.backbone import Backbone
from lake_core.backbones.devices import device_name
from lake_core.backbones.feature_store import FeatureStore
from lake_core.baselines import baselines
from lake_core.baselines.base import Baseline
from lake_core.config import LakeConfig
from lake_core.data.images import InputImage, quarter_turns
from lake_core.detector.batch import Variant
from lake_core.detector.lake import Lake
from lake_core.errors import DatasetError
from lake_core.evaluation.leakage import covered_batches
from lake_core.evaluation.loading import Batch
from lake_core.evaluation.maps import MapFile
from lake_core.evaluation.outcome import BackboneInfo, CategoryOutcome, NormalsRow
from lake_core.evaluation.protocol import N_RANDOM_DRAWS, CategoryProgress, FewShotProtocol, Method, RunKey
from lake_core.evaluation.run_metrics import Run, mean_draws, measure_runs, run_outcomes
from lake_core.evaluation.scorers import Scorers
from lake_core.evaluation.scoring_pass import TestScores, score_tests
from lake_core.evaluation.timing import Timed
from lake_core.types import HookPoint


@dataclass(frozen=True, eq=False)
class CategoryImages:
    """The images of one category, wherever they come from.

    Attributes:
        category: Its name.
        chosen: Seed -> the normal images in the order in which it takes them, at least as many as the most shots.
        batches: Gives the labelled test images, read while the network works; called again for a second pass.
        n_tests: How many they are.
        problems: What was left out so far, one sentence each.
    """

    category: str
    chosen: Mapping[int, Sequence[InputImage]]
    batches: Callable[[], Iterable[Batch]]
    n_tests: int
    problems: Sequence[str] = ()


def run_category(
    images: CategoryImages,
    store: FeatureStore,
    config: LakeConfig,
    protocol: FewShotProtocol,
    on_progress: CategoryProgress | None = None,
) -> CategoryOutcome:
    """All runs of one category.

    Args:
        images: What is learned from, and what is scored.
        store: Activations; those that it holds are not computed again.
        config: Parameters of the method.
        protocol: What is evaluated.
        on_progress: Called after each few images.
    Raises:
        DatasetError: if no test image can be read.
    """
    category, chosen, n_tests = images.category, images.chosen, images.n_tests
    started = time.perf_counter()
    backbone, most = store.backbone, protocol.shots[-1]
    distinct = {image.sha256: image for normals in chosen.values() for image in normals[:most]}
    turned = {sha256: quarter_turns(image) for sha256, image in distinct.items()} if _turns(protocol) else {}
    learned = [*distinct.values(), *chain.from_iterable(turned.values())]
    n_once = len(learned) + n_tests
    n_all = n_once + n_tests * protocol.leakage_check

    def report(n_done: int) -> None:
        if on_progress is not None:
            on_progress(category, min(n_done, n_all), n_all)

    hook_points = _hook_points(backbone, config, protocol)
    store.ensure(learned, hook_points, lambda done, _: report(done))
    runs: list[Run] = []
    for n, seed in product(protocol.shots, protocol.seeds):
        choice = _Choice(chosen[seed][:n], seed, turned)
        runs.extend(_fitted(choice, store, config, protocol))
        runs.extend(_fitted_baselines(choice, store, config, protocol))
        report(len(learned))
    scorers = Scorers([run.scored for run in runs], store)
    with MapFile([run.scored.grid.n_patches for run in runs]) if protocol.pixel and runs else nullcontext() as maps:
        test_scores = score_tests(scorers, images.batches(), hook_points, maps, lambda n: report(len(learned) + n))
        covered = None
        if protocol.leakage_check and any(image.has_defect for image in test_scores.images):
            again = covered_batches(images.batches(), test_scores.images, next(iter(distinct.values())))
            covered = score_tests(scorers, again, hook_points, None, lambda n: report(n_once + n))
        metrics = list(measure_runs(runs, test_scores, maps, backbone.device, covered)) if test_scores.images else []
    found = (*test_scores.problems, *_remarks(test_scores, distinct, protocol), *_left_out(backbone, protocol))
    remarks = [*images.problems, *(f"{category}: {one}" for one in found)]
    if not test_scores.images:
        raise DatasetError(f"None of the {n_tests} test images of {category} can be read: {remarks[-1]}")
    return CategoryOutcome(
        **_what_was_run(images, backbone, config, protocol),
        paths=tuple(image.entry.name for image in test_scores.images),
        labels=tuple("defective" if is_defective else "good" for is_defective in test_scores.is_defective),
        runs=tuple(run_outcomes(category, metrics, test_scores.is_defective, protocol)),
        draws=tuple(mean_draws(category, metrics, protocol)),
        problems=tuple(dict.fromkeys(remarks)),
        seconds=round(time.perf_counter() - started, 3),
    )


def _what_was_run(
    images: CategoryImages, backbone: Backbone, config: LakeConfig, protocol: FewShotProtocol
) -> dict[str, Any]:
    """The part of an outcome that was known before anything ran."""
    return {
        "category": images.category,
        "backbone": BackboneInfo(
            model=backbone.spec, input_size=backbone.input_size, resize=backbone.resize, precision=backbone.precision
        ),
        "config": config.resolved(backbone.recommended),
        "normals": tuple(_normals_rows(images, protocol)),
        "device": device_name(backbone.device),
    }


def _normals_rows(images: CategoryImages, protocol: FewShotProtocol) -> Iterator[NormalsRow]:
    for n, seed in product(protocol.shots, protocol.seeds):
        names = tuple(image.name for image in images.chosen[seed][:n])
        yield NormalsRow(category=images.category, shots=n, seed=seed, names=names)


def _remarks(test_scores: TestScores, learned: Container[str], protocol: FewShotProtocol) -> Iterator[str]:
    """What makes metrics null, or better than they should be."""
    for image in test_scores.images:
        if image.sha256 in learned:
            yield f"{image.entry.name} is also among the normal images: its score says nothing about new images."
    labels = {image.entry.label for image in test_scores.images}
    if len(labels) == 1:
        n_images = len(test_scores.images)
        every = f"all {n_images} test images are" if n_images > 1 else "the only test image is"
        yield f"{every} {labels.pop()}: AUROC, AP and F1 need both labels."
    masks = [image.mask for image in test_scores.images if image.entry.label == "defective"]
    if protocol.needs_masks and None in masks:
        n_bare = masks.count(None)
        yield f"{n_bare} of {len(masks)} defective images have no usable mask: what needs masks leaves them out."
    if protocol.leakage_check and not any(image.has_defect for image in test_scores.images):
        yield "the leakage check needs masks: without one nothing can be covered."
    n_blank = sum(mask is not None and not mask.defects.n_defect for mask in masks)
    if n_blank:
        yield f"{n_blank} of {len(masks)} defective images have an empty mask: all their pixels count as good."


class _Choice(NamedTuple):
    """One choice of normal images: its seed, and all distinct normal images turned, by hash, if that is asked for."""

    images: Sequence[InputImage]
    seed: int
    turned: Mapping[str, Sequence[InputImage]]

    def key(self, method: Method) -> RunKey:
        return RunKey(len(self.images), self.seed, method)


def _fitted(choice: _Choice, store: FeatureStore, config: LakeConfig, protocol: FewShotProtocol) -> Iterator[Run]:
    """LAKE's runs of one choice of normal images; lake, visual and text share a detector."""
    own_weights: dict[Method, float | None] = {"lake": None, "visual": 0.0, "text": None}
    for fitted, draw in protocol.detectors():
        changes: dict[str, Any] = {"lake": {}, "all": {"criterion": "all"}}.get(
            fitted, {"criterion": "random", "seed": N_RANDOM_DRAWS * choice.seed + draw}
        )
        with Timed(store.backbone.device) as timed:
            detector = Lake(store.backbone, replace(config, **changes), store).fit(choice.images)
        weights = own_weights if fitted == "lake" else {fitted: None}
        for method, weight in weights.items():
            if method in protocol.methods:
                variant = Variant(detector, weight, zero_shot=method == "text")
                yield Run(choice.key(method), variant, timed.seconds)


def _fitted_baselines(
    choice: _Choice, store: FeatureStore, config: LakeConfig, protocol: FewShotProtocol
) -> Iterator[Run]:
    """The baselines' runs of one choice of normal images."""
    turned = [one for image in choice.images for one in choice.turned.get(image.sha256, ())]
    for name, kind in _possible(store.backbone, protocol).items():
        with Timed(store.backbone.device) as timed:
            baseline = kind(store.backbone, replace(config, seed=choice.seed))
            baseline.fit(store, [*choice.images, *(turned if kind.learns_turned else ())])
        yield Run(choice.key(name), baseline, timed.seconds)


def _turns(protocol: FewShotProtocol) -> bool:
    """Whether turned normal images are asked for and some method learns from them."""
    return protocol.turn_normals and any(baselines()[name].learns_turned for name in protocol.baselines)


def _possible(backbone: Backbone, protocol: FewShotProtocol) -> dict[Method, type[Baseline]]:
    """The baselines of the protocol for which the backbone has what they need."""
    asked = {name: baselines()[name] for name in protocol.baselines}
    return {name: kind for name, kind in asked.items() if kind.why_not(backbone) is None}


def _left_out(backbone: Backbone, protocol: FewShotProtocol) -> Iterator[str]:
    """Why the other baselines give no scores, or an option does nothing."""
    if protocol.turn_normals and not _turns(protocol):
        yield "none of these methods learns from turned normal images."
    for name in protocol.baselines:
        reason = baselines()[name].why_not(backbone)
        if reason is not None:
            yield f"{name} gives no scores with {backbone.spec}: {reason}."


def _hook_points(backbone: Backbone, config: LakeConfig, protocol: FewShotProtocol) -> frozenset[HookPoint]:
    """What the methods of the protocol read."""
    readers: list[Lake | Baseline] = [kind(backbone, config) for kind in _possible(backbone, protocol).values()]
    if protocol.detectors():
        readers.append(Lake(backbone, config))
    return frozenset[HookPoint]().union(*(reader.hook_points for reader in readers))
