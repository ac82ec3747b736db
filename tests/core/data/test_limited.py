"""Images decoded in a process with limits: what breaks it, hangs or takes too much is named, others are read."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lake_core.data import limited as room
from lake_core.data.datasets import Given, decoded, read_members
from lake_core.data.limited import Decoder, LimitedProcess, Limits, OverLimit, is_light, limited
from lake_core.errors import ImageError
from tests.core.data.files import encoded, raw_png
from tests.core.data.folders import MVTEC, mask_png, png, zipped
from tests.core.memory import peak_growth


def given(data: bytes, name: str = "a.png", **masks: bytes) -> Given:
    return Given(name, data, masks)


def large(n_pixels: int) -> bytes:
    """A grey PNG of that many pixels and few bytes."""
    return raw_png(n_pixels // 1000, 1000, 8, 0, bytes((1 + n_pixels // 1000) * 1000))


def test_images_and_masks_are_those_that_this_process_would_decode() -> None:
    files = [("set.zip", zipped(MVTEC)), ("broken.png", png(9)[:100])]
    done: list[tuple[int, int]] = []
    with limited() as process:
        found = read_members(files, decode=Decoder(process), on_progress=lambda *step: done.append(step))
    own = read_members(files)
    assert found.problems == own.problems
    for one, other in zip((*found.normals, *found.tests), (*own.normals, *own.tests), strict=True):
        assert one.image == other.image
        assert one.image.encoded == other.image.encoded
        assert np.array_equal(one.image.rgb, other.image.rgb)
        assert not one.image.rgb.flags.writeable
        assert one.label == other.label
        masks = [mask.tolist() for mask in (one.mask, other.mask) if mask is not None]
        assert masks[:1] == masks[1:]
    assert done == [(n, 7) for n in range(1, 8)]


def test_a_killed_process_is_said_and_the_next_image_is_read() -> None:
    with limited() as process:
        decode = Decoder(process)
        assert decode(given(png(0))).image.size == (32, 24)
        assert process._process is not None
        (number,) = process._process._processes
        os.kill(number, signal.SIGKILL)
        with pytest.raises(
            ImageError, match=r"^b\.png ended the program that reads it: save it again as a smaller PNG\.$"
        ):
            decode(given(png(1), "b.png"))
        assert decode(given(png(2), "c.png")).image.name == "c.png"


KILLED = """
import os, time
from lake_core.data.limited import LimitedProcess, Limits
process = LimitedProcess(Limits(), lambda: None)
print(process.run(os.getpid), flush=True)
process.run(time.sleep, 600)
"""


class Panic(BaseException):
    """As PyO3's, which is no Exception: pydantic raises it where it gets no memory."""


def panic() -> None:
    raise Panic


def refuse_at_length() -> None:
    try:
        raise ValueError("fault " * 20_000_000)
    except ValueError as error:
        raise ImageError("a.png has many faults.") from error


def test_what_led_to_an_error_stays_in_the_process() -> None:
    refused = pytest.raises(ImageError, match=r"^a\.png has many faults\.$")
    with limited() as process, peak_growth() as grown, refused:
        process.run(refuse_at_length)
    assert grown.n_bytes < 50_000_000


def test_a_panic_in_the_process_is_said() -> None:
    with limited() as process, pytest.raises(OverLimit, match="ended the program that reads it"):
        process.run(panic)


def test_who_is_killed_leaves_no_process_behind() -> None:
    with subprocess.Popen([sys.executable, "-c", KILLED], stdout=subprocess.PIPE, text=True) as program:
        assert program.stdout is not None
        number = int(program.stdout.readline())
        assert is_there(number)
        program.kill()
    end = time.monotonic() + 20
    while is_there(number) and time.monotonic() < end:
        time.sleep(0.05)
    assert not is_there(number)


def is_there(number: int) -> bool:
    """Whether there is a process of that number, which may have ended and waits for its parent to notice."""
    try:
        return ") Z " not in Path(f"/proc/{number}/stat").read_text()
    except FileNotFoundError:
        return False


def test_what_takes_too_long_is_stopped_and_the_next_image_is_read() -> None:
    slow = given(large(40_000_000), "slow.png")
    with limited(Limits(step_s=0.01)) as process, pytest.raises(ImageError, match=r"slow\.png takes more than 0\.01 s"):
        Decoder(process)(slow)
    decoder = Decoder(LimitedProcess(Limits(all_s=-1.0), lambda: None))
    with pytest.raises(ImageError, match=r"a\.png was left out, because the others took"):
        decoder(given(png(0)))


def test_memory_is_refused_beyond_the_limit_and_the_next_image_is_read() -> None:
    with limited(Limits(n_bytes=100_000_000)) as process:
        decode = Decoder(process)
        with pytest.raises(ImageError, match=r"^big\.png needs more memory than there is"):
            decode(given(encoded(Image.new("RGB", (7000, 7000)), "JPEG"), "big.png"))
        assert decode(given(png(2))).image.size == (32, 24)


def test_work_that_nobody_wants_any_more_ends_within_an_image() -> None:
    class Unwanted(Exception):
        pass

    def still_wanted() -> None:
        raise Unwanted

    started = time.monotonic()
    with pytest.raises(Unwanted), limited(still_wanted=still_wanted) as process:
        Decoder(process)(given(large(40_000_000)))
    assert time.monotonic() - started < 20


def test_a_mask_that_cannot_be_used_is_said_and_the_image_stays() -> None:
    with limited() as process:
        for decode in (decoded, Decoder(process)):
            found = decode(given(png(0), "a.png", **{"a_mask.png": mask_png(3, (32, 32))}))
            assert found.mask is None
            assert "another aspect" in found.problem
            assert found.image.name == "a.png"


def test_small_sets_are_light_and_what_has_to_be_looked_through_is_not() -> None:
    photo = Image.new("RGB", (1000, 1000))
    for light in ([png(0)] * 40, [encoded(photo, "JPEG")] * 5, [b"no image"], [b""], [large(60_000_000)]):
        assert is_light([("a", data) for data in light])
    heavy = [
        [encoded(photo, "JPEG")] * 7,
        [png(0)] * 51,
        [bytes(room.LIGHT_BYTES + 1)],
        [encoded(photo, "GIF")],
        [encoded(photo, "TIFF")],
        [zipped({"a.png": png(0)})],
    ]
    for files in heavy:
        assert not is_light([("a", data) for data in files])
