"""From the command to the first page settled in a browser, beside the least that any such program has to do.

That least is importing the libraries, opening the network and running it on the sample's images, and a Streamlit server
that shows one heading. Both are measured in the same run, in turn.
    python -m pytest tests/benchmarks/test_start.py -q
"""

import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from playwright.sync_api import Browser

from lake_core.cli.dashboard import streamlit_arguments
from lake_core.data.samples import assets_folder
from tests.e2e.server import QUIET_MS, browser, free_port, serving, wait_until_idle

SAMPLE, ROUNDS, PATIENCE_MS = "hazelnut", 3, 180_000
LAKE = str(Path(sys.executable).with_name("lake"))
STAGE = ".microscope .ms-stage"
LIBRARIES = "import torch, torchvision, open_clip"
NETWORK = """
import sys
from pathlib import Path
import numpy as np, torch, torchvision, open_clip
from PIL import Image
torch.set_num_threads(max(1, torch.get_num_threads() // 2))
model = open_clip.create_model(f"local-dir:{sys.argv[1]}/lake-cnn").visual.eval()
files = sorted(Path(sys.argv[1], "samples", sys.argv[2]).glob("t*/*/*.jpg"))
images = [np.asarray(Image.open(file).convert("RGB").resize((384, 384)), np.float32) / 255 for file in files]
pixels = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).contiguous()
with torch.inference_mode():
    for batch in pixels.split(4):
        model(batch)
"""


class Times(NamedTuple):
    """Seconds from the command on.

    Attributes:
        healthy: Until the server answers.
        heading: Until the browser shows a heading.
        drawn: Until it shows what belongs to the page.
        settled: Until nothing changes any more: all layers of the image have arrived.
        server: Processor time of the server until it was stopped.
    """

    healthy: float
    heading: float
    drawn: float
    settled: float
    server: float


@pytest.fixture(scope="module", autouse=True)
def written_bytecode() -> Iterator[None]:
    """Compiled modules are kept, as pip's installation leaves them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)
        yield


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with browser() as opened:
        yield opened


def start(chromium: Browser, command: Callable[[int], list[str]], drawn: str, log: Path) -> Times:
    """Times of a server that a command starts, as a browser sees it that comes when the server answers.

    Args:
        drawn: Selector of what the page is there for.
    """
    port, before = free_port(), resource.getrusage(resource.RUSAGE_CHILDREN)
    began = time.perf_counter()
    with serving(command(port), port, log) as address, chromium.new_context() as context:
        healthy = time.perf_counter() - began
        page = context.new_page()
        page.goto(address)
        page.locator("h1").first.wait_for(timeout=PATIENCE_MS)
        heading = time.perf_counter() - began
        page.locator(drawn).first.wait_for(timeout=PATIENCE_MS)
        is_drawn = time.perf_counter() - began
        wait_until_idle(page, PATIENCE_MS / 1000)
        settled = time.perf_counter() - began - QUIET_MS / 1000
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    server = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Times(healthy, heading, is_drawn, settled, server)


def dashboard(port: int) -> list[str]:
    return [LAKE, "dashboard", "--no-browser", "--port", str(port), "--sample", SAMPLE]


def seconds(*arguments: str) -> float:
    """Of a program from its start to its end."""
    began = time.perf_counter()
    subprocess.run(arguments, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


@pytest.mark.timeout(1800)
def test_the_first_page_comes_soon(chromium: Browser, tmp_path: Path, ratios: list[str]) -> None:
    hello = tmp_path / "hello.py"
    hello.write_text("import streamlit as st\n\nst.title('Hello')\n")

    def bare(port: int) -> list[str]:
        return [sys.executable, "-m", "streamlit", *streamlit_arguments(hello, "127.0.0.1", port, None)]

    def measured() -> tuple[Times, Times, float, float]:
        log = tmp_path / "log"
        network = seconds(sys.executable, "-c", NETWORK, str(assets_folder()), SAMPLE)
        libraries = seconds(sys.executable, "-c", LIBRARIES)
        ours, empty = start(chromium, dashboard, STAGE, log), start(chromium, bare, "h1", log)
        return ours, empty, network, libraries

    measured()
    ours, empty, network, libraries = zip(*(measured() for _ in range(ROUNDS)), strict=True)
    least = [b.settled + c for b, c in zip(empty, network, strict=True)]
    drawn, settled = (
        float(np.median([getattr(t, name) / c for t, c in zip(ours, least, strict=True)]))
        for name in ("drawn", "settled")
    )
    for name, rounds in ((f"start with {SAMPLE}", ours), ("Streamlit with one heading", empty)):
        t = Times(*np.median(rounds, axis=0))
        ratios.append(
            f"{name}: answers after {t.healthy:.1f} s, first heading {t.heading:.1f}, drawn {t.drawn:.1f}, settled "
            f"{t.settled:.1f} (processor time of the server {t.server:.1f}; load {os.getloadavg()[0]:.1f})"
        )
    ratios.append(
        f"start with {SAMPLE}: drawn {drawn:.2f} x, settled {settled:.2f} x (Streamlit with one heading + libraries, "
        f"network and images alone, {np.median(network):.1f} s, of which libraries {np.median(libraries):.1f})"
    )
    assert drawn < 1.5


def test_help_comes_at_once(ratios: list[str]) -> None:
    def pair(*arguments: str) -> tuple[float, float]:
        return seconds(LAKE, *arguments), seconds(sys.executable, "-c", "import typer, numpy")

    pair("--help")
    for arguments in (("--help",), ("score", "--help")):
        ours, least = np.median([pair(*arguments) for _ in range(7)], axis=0)
        command = " ".join(("lake", *arguments))
        ratios.append(f"{command}: {ours:.2f} s, {ours / least:.2f} x (Python with typer and NumPy, {least:.2f} s)")
        assert ours < 3 * least
