"""Ways to run what is tested: in several threads at once, cancelled in the middle, twice with the same outcome."""

import json
import threading
from collections.abc import Callable
from typing import Any


class Cancelled(BaseException):
    """As Streamlit's, no Exception."""


def in_threads(work: Callable[[int], None], n_threads: int = 4) -> None:
    """Runs work(0), work(1) ... at the same time; what one raises is raised here."""
    errors: list[BaseException] = []
    start = threading.Barrier(n_threads)

    def run(index: int) -> None:
        try:
            start.wait()
            work(index)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(index,)) for index in range(n_threads)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


def without_times(document: dict[str, Any]) -> dict[str, Any]:
    """The document of an evaluation without what differs from run to run."""
    rows = [{key: value for key, value in row.items() if key != "seconds"} for row in document["results"]]
    plain: dict[str, Any] = json.loads(json.dumps(document | {"results": rows, "seconds": None}))
    return plain
