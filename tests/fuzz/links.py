"""Addresses of the dashboard: any parameter with any value, drawn as a page on images that have run."""

from functools import cache
from urllib.parse import parse_qsl, urlencode

from numpy.random import Generator
from streamlit.testing.v1 import AppTest

from dashboard.services.registry import registry
from dashboard.workspace import Workspace
from lake_core.data.datasets import Dataset
from lake_core.data.samples import load_sample
from tests.dashboard.visit import APP
from tests.fuzz.mutations import NUMBERS, TEXTS, pick, spoiled_text

NAME = ""
KEYS = ("w", "project", "image", "layer", "neuron", "patch", "model", "site", "present", "embed", "embed_options", "x")
VALUES = ("1", "15", "12", "24", "5000", "-1", "007", "mlp_hidden", "residual_channel", "lake-cnn", "lake-vit", "true")
PAGES = ("explain", "images", "neurons", "selection", "results")


def valid() -> bytes:
    return urlencode({"page": "explain", "layer": "15", "neuron": "7"}).encode()


def make(rng: Generator) -> bytes:
    query: list[tuple[str, str]] = [("page", pick(rng, PAGES))]
    for _ in range(int(rng.integers(1, 7))):
        value = pick(rng, (*VALUES, *TEXTS, *(str(number)[:6000] for number in NUMBERS)))
        value = spoiled_text(value, rng) if rng.random() < 0.2 else value
        query.append((pick(rng, KEYS), value))
    return urlencode(query, errors="replace").encode()


def run(data: bytes) -> None:
    """Draws the page of an address.

    Half of the addresses name a session with images; the page and the session's number are not part of the input.
    """
    app = AppTest.from_file(str(APP), default_timeout=120)
    page = "explain"
    if len(data) % 2:
        app.query_params["w"] = _number()
    for key, value in parse_qsl(data.decode(), keep_blank_values=True):
        if key == "page":
            page = value
        elif not key.startswith("embed"):  # Streamlit's own, which a page cannot write
            app.query_params[key] = value
    app.run()
    if page != "explain":
        app.switch_page(f"app_pages/{page}.py").run()
    assert not app.exception, app.exception[0].value


@cache
def _number() -> str:
    """The number of a session with three normal images and two test images."""
    metal = load_sample("metal")
    small = Dataset("metal", metal.normals[:3], (metal.tests[0], metal.tests[-1]))
    number = registry().create()
    registry().keep(number, workspace=Workspace(small.normals, small.tests, small.name))
    return number
