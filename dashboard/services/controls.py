"""The random control of an analysis, which several pages and the report show."""

from collections.abc import Hashable

from dashboard.services.analysis import Analysis
from dashboard.services.cache import results
from lake_core.experiments import controls
from lake_core.experiments.controls import RandomControl, random_control
from lake_core.types import Progress


def control_key(found: Analysis) -> Hashable:
    """Of the cache's."""
    return "random", found.result_key


def measured_control(found: Analysis, on_progress: Progress | None = None) -> RandomControl:
    """The control over all test images, of which there is one at least; measured now.

    Args:
        on_progress: Called with draws done and in all; may raise to cancel.
    """
    return random_control(found.lake, found.images, found.known_labels, controls.N_DRAWS, on_progress)


def known_control(found: Analysis) -> RandomControl | None:
    """The control, as far as it was measured before."""
    control: RandomControl | None = results().get(control_key(found))
    return control
