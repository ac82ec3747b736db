"""Ways to run what is tested: in several threads at once, and cancelled in the middle."""

import threading
from collections.abc import Callable


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
