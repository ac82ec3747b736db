"""How often the random control gives a verdict on selections that are random themselves; prints a table in Markdown.

    python -m tests.benchmarks.false_verdicts DATA

For each data set and choice of normal images, 100 random selections are scored; each in turn stands for the detector's
own and is compared with the other 99. docs/results.md has what this printed.
"""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

import lake_core as lk
from lake_core.data.datasets import Dataset, read_folder
from lake_core.data.folders import categories
from lake_core.detector.image_scores import image_scores
from lake_core.detector.reselection import with_neurons
from lake_core.evaluation.protocol import seeded_order
from lake_core.experiments.controls import RandomControl

N_SELECTIONS = 100
OLD_DRAWS, OLD_CUT = 10, 0.9


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


def shares(labels: list[bool | None], scores: Sequence[np.ndarray]) -> tuple[float, float, float]:
    """Share of selections with a verdict: by the old rule, by the p-value alone, and by p-value and interval."""
    old, by_rank, verdicts = [], [], []
    for i, own in enumerate(scores):
        others = [*scores[:i], *scores[i + 1 :]]
        control = RandomControl.of_scores(labels, own, others)
        finding = control.finding
        assert finding is not None
        by_rank.append(control.p_value < 0.05)
        verdicts.append(finding.verdict != "no difference")
        few = RandomControl.of_scores(labels, own, others[:OLD_DRAWS])
        as_good, as_bad = (few.draws >= few.selected).mean(), (few.draws <= few.selected).mean()
        old.append(min(as_good, as_bad) <= 1 - OLD_CUT)
    return float(np.mean(old)), float(np.mean(by_rank)), float(np.mean(verdicts))


def rows(folder: Path) -> Iterator[tuple[str, int, tuple[float, float, float]]]:
    """Category, seed of the choice of normal images, and the shares."""
    backbone = lk.open_backbone("lake-cnn")
    for path in categories(folder):
        dataset: Dataset = read_folder(path)
        tests = [example for example in dataset.tests if example.label is not None]
        images = [example.image for example in tests]
        store = lk.FeatureStore(backbone)
        for seed in range(3):
            chosen = [dataset.normals[i].image for i in seeded_order(len(dataset.normals), seed)[:4]]
            lake = lk.Lake(backbone, store=store).fit(chosen)
            yield (
                dataset.name,
                seed,
                shares([example.label == "defective" for example in tests], scores_by_chance(lake, images)),
            )


def main() -> None:
    print(f"| data set | seed | {OLD_DRAWS} draws, {OLD_CUT:.0%} cut | p < 0.05 alone | p < 0.05 and interval |")
    print("|---|---|---|---|---|")
    found = []
    for name, seed, own in rows(Path(sys.argv[1])):
        found.append(own)
        print(f"| {name} | {seed} | " + " | ".join(f"{share:.0%}" for share in own) + " |", flush=True)
    print("| mean | | " + " | ".join(f"{share:.1%}" for share in np.mean(found, axis=0)) + " |")


if __name__ == "__main__":
    main()
