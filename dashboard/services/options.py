"""What whoever started the server has asked for."""

import sys


def is_demo() -> bool:
    """Whether it shows samples and shared projects alone: nothing is uploaded, nothing of its visitors is stored."""
    return "--read-only" in sys.argv[1:]
