"""The random control of an analysis, which several pages and the report show."""

from collections.abc import Hashable

from dashboard.services.analysis import Analysis
from dashboard.services.cache import results
from dashboard.services.estimates import Steps, seconds_of
from lake_core.experiments import controls
from lake_core.experiments.controls import RandomControl, random_control
from lake_core.types import Progress

_FASTER = 3
"""Times as fast as scores with their maps are those of the random draws."""


def control_key(found: Analysis) -> Hashable:
    """Of the cache's."""
    return "random", found.result_key


def measured_control(found: Analysis, on_progress: Progress | None = None) -> RandomControl:
    """The control over all test images, of which there is one at least; measured now.

    Args:
        on_progress: Called with draws done and in all; may raise to cancel.
    """
    return random_control(found.lake, found.images, found.known_labels, controls.N_DRAWS, on_progress)


def control_seconds(found: Analysis) -> float | None:
    """An estimate of how long measuring it takes; None where a step has not been measured yet."""
    n = controls.N_DRAWS
    return seconds_of(found, Steps(n_scored=n * len(found.images) // _FASTER, n_fits=n))


def known_control(found: Analysis) -> RandomControl | None:
    """The control, as far as it was measured before."""
    control: RandomControl | None = results().get(control_key(found))
    return control
