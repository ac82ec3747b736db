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

SAMPLE, ROUNDS = "hazelnut", 3
LAKE = str(Path(sys.executable).with_name("lake"))
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
    """Seconds from the command on; `server` is the processor time of the server until it was stopped."""

    healthy: float
    heading: float
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


def start(chromium: Browser, command: Callable[[int], list[str]], log: Path) -> Times:
    """Times of a server that a command starts, as a browser sees it that comes when the server answers."""
    port, before = free_port(), resource.getrusage(resource.RUSAGE_CHILDREN)
    began = time.perf_counter()
    with serving(command(port), port, log) as address, chromium.new_context() as context:
        healthy = time.perf_counter() - began
        page = context.new_page()
        page.goto(address)
        page.locator("h1").first.wait_for(timeout=120_000)
        heading = time.perf_counter() - began
        wait_until_idle(page)
        settled = time.perf_counter() - began - QUIET_MS / 1000
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return Times(healthy, heading, settled, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)


def dashboard(port: int) -> list[str]:
    return [LAKE, "dashboard", "--no-browser", "--port", str(port), "--sample", SAMPLE]


def seconds(*arguments: str) -> float:
    """Of a program from its start to its end."""
    began = time.perf_counter()
    subprocess.run(arguments, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


def test_the_first_page_comes_soon(chromium: Browser, tmp_path: Path, ratios: list[str]) -> None:
    hello = tmp_path / "hello.py"
    hello.write_text("import streamlit as st\n\nst.title('Hello')\n")

    def bare(port: int) -> list[str]:
        return [sys.executable, "-m", "streamlit", *streamlit_arguments(hello, "127.0.0.1", port, None)]

    def measured() -> tuple[Times, Times, float, float]:
        log = tmp_path / "log"
        network = seconds(sys.executable, "-c", NETWORK, str(assets_folder()), SAMPLE)
        libraries = seconds(sys.executable, "-c", LIBRARIES)
        return start(chromium, dashboard, log), start(chromium, bare, log), network, libraries

    measured()
    ours, empty, network, libraries = zip(*(measured() for _ in range(ROUNDS)), strict=True)
    ratio = float(np.median([a.settled / (b.settled + c) for a, b, c in zip(ours, empty, network, strict=True)]))
    ratios += [
        f"{name}: answers after {t.healthy:.1f} s, first heading {t.heading:.1f}, settled {t.settled:.1f} "
        f"(processor time of the server {t.server:.1f})"
        for name, rounds in ((f"start with {SAMPLE}", ours), ("Streamlit with one heading", empty))
        for t in [Times(*np.median(rounds, axis=0))]
    ]
    ratios.append(
        f"start with {SAMPLE}, settled: {ratio:.2f} x (Streamlit with one heading + libraries, network and images "
        f"alone, {np.median(network):.1f} s, of which libraries {np.median(libraries):.1f}); "
        f"load {os.getloadavg()[0]:.1f}"
    )
    assert ratio < 2
