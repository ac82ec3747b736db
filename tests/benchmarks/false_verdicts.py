"""How often the random control gives a verdict: on random selections, and on selections by variance; prints Markdown.

    python -m tests.benchmarks.false_verdicts DATA

For each data set and choice of 4 normal images, 100 random selections are scored. Each in turn stands for the
detector's own and is compared with the other 99, where a verdict is false; then the selection by variance is compared
with the first 99. docs/results.md has what this printed.
"""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

import lake_core as lk
from lake_core.data.datasets import read_folder
from lake_core.data.folders import categories
from lake_core.detector.image_scores import image_scores
from lake_core.detector.reselection import with_neurons
from lake_core.evaluation.protocol import seeded_order
from lake_core.experiments.controls import RandomControl
from lake_core.findings.neurons import RandomControlFinding

N_SELECTIONS, N_NORMALS, SEEDS = 100, 4, (0, 1, 2)


def scores_by_chance(lake: lk.Lake, images: Sequence[lk.InputImage]) -> list[np.ndarray]:
    """(n_images,) scores by each of 100 random selections."""
    found = []
    for seed in range(N_SELECTIONS):
        neurons = {
            layer: np.random.default_rng([1000 + seed, layer]).permutation(one.n_neurons)[: len(one.neurons)]
            for layer, one in lake.selection_.items()
        }
        found.append(image_scores(with_neurons(lake, neurons), images))
    return found


def compared(labels: list[bool | None], own: np.ndarray, others: Sequence[np.ndarray]) -> RandomControlFinding:
    """What the control finds of some scores beside those of other selections."""
    finding = RandomControl.of_scores(labels, own, others).finding
    assert finding is not None
    return finding


def rows(folder: Path) -> Iterator[tuple[str, int, float, float, RandomControlFinding]]:
    """Data set, seed, shares of random selections with p < 0.05 and with a verdict, and what is found of LAKE's own."""
    backbone = lk.open_backbone("lake-cnn")
    for path in categories(folder):
        dataset = read_folder(path)
        tests = [example for example in dataset.tests if example.label is not None]
        images, labels = [one.image for one in tests], [one.label == "defective" for one in tests]
        store = lk.FeatureStore(backbone)
        for seed in SEEDS:
            order = seeded_order(len(dataset.normals), seed)[:N_NORMALS]
            lake = lk.Lake(backbone, store=store).fit([dataset.normals[i].image for i in order])
            scores = scores_by_chance(lake, images)
            by_chance = [compared([*labels], own, scores[:i] + scores[i + 1 :]) for i, own in enumerate(scores)]
            is_rare = float(np.mean([one.p_value < 0.05 for one in by_chance]))
            has_verdict = float(np.mean([one.verdict != "no difference" for one in by_chance]))
            yield dataset.name, seed, is_rare, has_verdict, compared([*labels], image_scores(lake, images), scores[:99])


def main() -> None:
    print("| data set | seed | random: p < 0.05 | random: verdict | by variance: difference | interval | p | verdict |")
    print("|---|---|---|---|---|---|---|---|")
    found = []
    for name, seed, is_rare, has_verdict, own in rows(Path(sys.argv[1])):
        found.append((is_rare, has_verdict))
        print(
            f"| {name} | {seed} | {is_rare:.0%} | {has_verdict:.0%} | {own.difference:+.3f} | {own.low:+.3f} to "
            f"{own.high:+.3f} | {own.p_value:.2f} | {own.verdict} |",
            flush=True,
        )
    is_rare, has_verdict = np.mean(found, axis=0)
    print(f"| mean | | {is_rare:.1%} | {has_verdict:.1%} | | | | |")


if __name__ == "__main__":
    main()
