"""The server: Streamlit, and beside it what the first page needs, so that both are ready at about the same time."""

import logging
import signal
import sys
import threading
from types import FrameType

from streamlit.runtime.scriptrunner_utils import script_run_context
from streamlit.web.cli import main

from dashboard.services import warm_up
from dashboard.services.jobs import THREADS
from lake_core.backbones.process import tidy_when_idle


def _is_of_a_page(record: logging.LogRecord) -> bool:
    """Whether it is about a page's own thread: a backbone that a job opens has no spinner on a page, and needs none."""
    return not threading.current_thread().name.startswith(THREADS)


def _end(number: int, frame: FrameType | None) -> None:
    """Ends the process as one that has done its work: what is still to be written is written then."""
    raise SystemExit(0)


if __name__ == "__main__":
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _end)  # the server, once it has stopped, raises the signal again
    logging.getLogger(script_run_context.__name__).addFilter(_is_of_a_page)
    tidy_when_idle()
    warm_up.begin(warm_up.launch_sample(sys.argv))
    main()
