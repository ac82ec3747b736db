"""What a server does as soon as it starts, while the browser opens: libraries, backbone, the sample's first page.

This module itself is light: whatever takes long to import is imported by `load`.
"""

import importlib
import threading
from collections.abc import Sequence

from dashboard.services.jobs import Job, jobs
from lake_core.backbones.process import freeze_imports, limit_threads, no_collection
from lake_core.types import Progress, counted

_OWNER = "server"
_SLOW = ("torch", "lake_core.backbones.libraries", "pandas", "dashboard.services.first_page")
"""In steps, so that a server that is stopped at once need not wait for all of them."""
_loading, _loaded = threading.Lock(), threading.Event()


def launch_sample(arguments: Sequence[str]) -> str | None:
    """The sample that the command line names, to begin with; None where it names none."""
    return arguments[arguments.index("--sample") + 1] if "--sample" in arguments[:-1] else None


def is_loaded() -> bool:
    """Whether `load` has been through."""
    return _loaded.is_set()


def load(report: Progress | None = None) -> None:
    """Imports what the pages need, once: whoever comes second waits for the first.

    Args:
        report: Called after each step; whatever it raises ends the work.
    """
    with _loading:
        if is_loaded():
            return
        with no_collection():
            for name in counted(_SLOW, report):
                importlib.import_module(name)
        limit_threads()
        freeze_imports()
        _loaded.set()


def begin(sample: str | None) -> Job:
    """Begins to make what the first visitor will see; pages take it from the caches, or wait for it there.

    Args:
        sample: Built-in sample that sessions begin with, or None.
    """

    def work(report: Progress) -> None:
        load(report)
        from dashboard.services.first_page import prepare

        prepare(sample, report)

    return jobs().beside(_OWNER, ("warm up", sample), "Warm-up", work, "ahead")
