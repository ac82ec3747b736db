"""Labels and scores for tests of metrics, and the AUROC by counting pairs."""

import numpy as np


def tied_case(seed: int, n: int = 30) -> tuple[np.ndarray, np.ndarray]:
    """Labels of both classes and scores with many ties."""
    rng = np.random.default_rng(seed)
    labels = rng.random(n) < 0.4
    labels[:2] = [True, False]
    return labels, rng.integers(0, 8, n) / 8 + 0.25 * labels


def brute_auroc(labels: np.ndarray, scores: np.ndarray) -> float:
    wins = [(d > g) + 0.5 * (d == g) for d in scores[labels] for g in scores[~labels]]
    return float(np.mean(wins))
