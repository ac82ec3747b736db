"""How long a result on demand will take, from what the same steps have taken on this server."""

from dataclasses import dataclass

from dashboard.services.analysis import Analysis, fitted, patch_scores


@dataclass(frozen=True)
class Steps:
    """What a result is made of.

    Attributes:
        n_passes: Images that go through the network.
        n_scored: Images that are scored from activations, those that went through the network included.
        n_fits: Detectors that are fitted from stored activations.
    """

    n_passes: float = 0
    n_scored: float = 0
    n_fits: float = 0


def seconds_of(found: Analysis, steps: Steps) -> float | None:
    """An estimate in seconds, or None where a step has not been measured yet."""
    store, n_tests, total = found.lake.store, len(found.workspace.tests), 0.0
    if steps.n_passes:
        if not store.n_forwards:
            return None
        total += steps.n_passes * store.forward_seconds / store.n_forwards
    if steps.n_scored:
        if not n_tests:
            return None
        total += steps.n_scored * patch_scores(found.key, found.workspace).seconds / n_tests
    if steps.n_fits:
        total += steps.n_fits * fitted(found.key, found.workspace).seconds
    return total
