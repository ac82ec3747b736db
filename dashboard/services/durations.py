"""How long something will take, from what the network took so far on this server."""

from dashboard.services.models import model
from dashboard.settings import ModelKey


def of_passes(key: ModelKey, n_passes: float) -> str:
    """About how long so many forward passes of one image take, in words."""
    store = model(key)
    if not store.n_forwards:
        return "some time"
    return in_words(n_passes * store.forward_seconds / store.n_forwards)


def in_words(seconds: float) -> str:
    """A duration to one figure or two: "about 2 s", "about 40 s", "about 3 min"."""
    if seconds < 1.5:
        return "about a second"
    if seconds < 90:
        return f"about {round(seconds) if seconds < 10 else 5 * round(seconds / 5)} s"
    return f"about {round(seconds / 60)} min"
