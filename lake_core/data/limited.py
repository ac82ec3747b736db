"""Files from strangers read in a process of their own, with limits on time and memory: what breaks it harms nobody.

Beginning the process takes half a second, so what is light is decoded where it is: see `is_light`.
"""

import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import ParamSpec, TypeVar

from loky import ProcessPoolExecutor, wait
from PIL import Image

from lake_core.data.datasets import Decoded, Given, decoded
from lake_core.data.decoding import MAX_PIXELS
from lake_core.errors import ImageError, LakeError

P = ParamSpec("P")
T = TypeVar("T")
LIGHT_FORMATS = ("PNG", "JPEG", "WEBP", "BMP")
"""Those whose first image is found without looking through the file."""
LIGHT_FILES, LIGHT_BYTES, LIGHT_PIXELS = 50, 8_000_000, 6_000_000
"""What is decoded in 0.3 s on a slow machine: files, bytes and pixels, each of all together."""
_LOOK_S = 0.1
"""How often it is asked, while a file is read, whether it is still wanted, and whether who wants it is still there."""


@dataclass(frozen=True)
class Limits:
    """What reading may take.

    Attributes:
        step_s: Seconds for one step: an image with its masks, or the list of what a project holds.
        all_s: Seconds for all of them.
        n_bytes: Memory that the process may take besides what it begins with; on systems other than Linux unlimited.
    """

    step_s: float = 20.0
    all_s: float = 600.0
    n_bytes: int = 2 * 1024**3


class OverLimit(Exception):
    """A step took too much, or ended the process; what it says follows the name of the file."""


def is_light(files: Iterable[tuple[str, bytes]]) -> bool:
    """Whether files (name, bytes) are read in a fraction of a second: few small images, no archive, nothing with pages.

    Only headers are read. What is no image at all is light: it is refused at once.
    """
    held = [data for _, data in files]
    if len(held) > LIGHT_FILES or sum(map(len, held)) > LIGHT_BYTES:
        return False
    return sum(map(_pixels, held)) <= LIGHT_PIXELS


def _pixels(data: bytes) -> int:
    """Pixels that a file says it has and that would be decoded; too many where it would have to be looked through."""
    if data.startswith((b"GIF8", b"II*\0", b"MM\0*", b"II+\0", b"MM\0+", b"PK")):
        return LIGHT_PIXELS + 1
    try:
        with Image.open(BytesIO(data), formats=LIGHT_FORMATS) as image:
            n_pixels = image.width * image.height
    except Exception:  # Pillow's parsers raise nearly anything on broken headers
        return 0
    return n_pixels if n_pixels <= MAX_PIXELS else 0


@contextmanager
def limited(
    limits: Limits | None = None, still_wanted: Callable[[], None] = lambda: None
) -> Iterator["LimitedProcess"]:
    """A process of its own to read in, which ends with the block.

    Args:
        limits: The default ones if None.
        still_wanted: Called several times a second; may raise to end the work at once.
    """
    process = LimitedProcess(limits or Limits(), still_wanted)
    try:
        yield process
    finally:
        process.end()


class LimitedProcess:
    """Does one step after the other in another process; one that dies or takes too long is replaced."""

    def __init__(self, limits: Limits, still_wanted: Callable[[], None]) -> None:
        self.limits = limits
        self._still_wanted = still_wanted
        self._until = time.monotonic() + limits.all_s
        self._process: ProcessPoolExecutor | None = None

    @property
    def is_out_of_time(self) -> bool:
        """Whether all steps together have taken what they may."""
        return time.monotonic() > self._until

    def run(self, step: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """What a function gives in the other process.

        Raises:
            OverLimit: if it takes too long or too much memory, or ends the process.
            LakeError: if the function raises one.
        """
        if self._process is None:
            self._process = ProcessPoolExecutor(1, initializer=_begin, initargs=(os.getpid(), self.limits.n_bytes))
        job = self._process.submit(_alone, step, *args, **kwargs)
        end = time.monotonic() + self.limits.step_s
        while not job.done() and time.monotonic() < end:
            wait([job], timeout=_LOOK_S)
            self._still_wanted()
        if not job.done():
            self.end()
            raise OverLimit(f"takes more than {self.limits.step_s:g} s to read")
        try:
            found: T = job.result()
        except LakeError:
            raise
        except MemoryError:
            self.end()
            raise OverLimit("needs more memory than reading a file may take") from None
        except BaseException as error:  # it has died, could not send what it found, or Rust panicked in it
            self.end()
            raise OverLimit("ended the program that reads it") from error
        return found

    def end(self) -> None:
        """Ends the process, also in the middle of a step."""
        if self._process is not None:
            self._process.shutdown(wait=False, kill_workers=True)
            self._process = None


class Decoder:
    """Decodes in a process with limits, like `decoded`."""

    def __init__(self, process: LimitedProcess) -> None:
        self._process = process

    def __call__(self, given: Given) -> Decoded:
        """An image with its mask.

        Raises:
            ImageError: if it cannot be used, takes too much, or ends the process.
        """
        if self._process.is_out_of_time:
            minutes = f"{self._process.limits.all_s / 60:g} minutes"
            raise ImageError(f"{given.name} was left out, because the others took {minutes} to read: bring it alone.")
        try:
            found = self._process.run(_decoded, given)
        except OverLimit as reason:
            raise ImageError(f"{given.name} {reason}: save it again as a smaller PNG.") from reason
        found.image.rgb.setflags(write=False)  # which is lost on the way
        encoded = given.source if isinstance(given.source, bytes) else Path(given.source).read_bytes()
        return found._replace(image=replace(found.image, encoded=encoded))


def _alone(step: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """What a function gives; its error comes without those that led to it, whose texts can be larger than the file."""
    try:
        return step(*args, **kwargs)
    except (LakeError, MemoryError) as error:
        raise error from None
    except BaseException as error:  # Rust's panics are no Exception
        raise RuntimeError(type(error).__name__) from None


def _decoded(given: Given) -> Decoded:
    """Without the file's bytes, which the other process has."""
    found = decoded(given)
    return found._replace(image=replace(found.image, encoded=None))


def _begin(parent: int, n_bytes: int) -> None:
    """What the other process does first."""
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    _limit_memory(n_bytes)


def _end_with(parent: int) -> None:
    """Ends this process when the one that began it is gone, which may have been killed and cannot say so."""
    while os.getppid() == parent:
        time.sleep(_LOOK_S)
    os._exit(1)


def _limit_memory(n_bytes: int) -> None:
    """Refuses memory beyond what the process has now and some bytes."""
    with suppress(ImportError, OSError, ValueError):  # Windows, or a system that does not say what a process has
        import resource

        pages = int(Path("/proc/self/statm").read_text().split()[0])
        resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + n_bytes, resource.RLIM_INFINITY))
