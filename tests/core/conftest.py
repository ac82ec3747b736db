"""What the tests of the core share: one thread, the shipped backbones, and a tiny one of every family."""

import os
from collections.abc import Iterator
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")


import numpy as np
import pytest
import torch

from lake_core.backbones.backbone import Backbone
from lake_core.backbones.feature_store import FeatureStore
from lake_core.backbones.opening import open_backbone
from lake_core.data.images import InputImage, read_image
from tests.core.hub import LocalHub, running_hub
from tests.core.stains import write_category
from tests.core.tiny import FAMILIES, OpenTiny, Tiny, each_shape, small_nets, write


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--all-families",
        action="store_true",
        help="also the tests that only repeat the arithmetic on a family whose shapes another family has",
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--all-families"):
        return
    repeats = [item for item in items if item.get_closest_marker("sweep")]
    config.hook.pytest_deselected(items=repeats)
    items[:] = [item for item in items if not item.get_closest_marker("sweep")]


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def lake_cnn(one_thread: None) -> Backbone:
    return open_backbone("lake-cnn")


@pytest.fixture(scope="session")
def cnn_store(lake_cnn: Backbone) -> FeatureStore:
    """Activations of lake-cnn at its full size, for tests that score images of the samples: each runs once."""
    return FeatureStore(lake_cnn)


@pytest.fixture(scope="session")
def lake_vit(one_thread: None) -> Backbone:
    return open_backbone("lake-vit")


@pytest.fixture(scope="session")
def small_cnn(one_thread: None) -> Backbone:
    """lake-cnn with a small input, where many images run through it."""
    return open_backbone("lake-cnn", image_size=128)


@pytest.fixture(scope="session")
def stained(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two data sets, the first with masks."""
    root = tmp_path_factory.mktemp("sets")
    return [write_category(root / "red_stain", 0, True), write_category(root / "unmasked", 1000, False)]


@pytest.fixture(scope="session")
def open_tiny(tmp_path_factory: pytest.TempPathFactory, one_thread: None) -> OpenTiny:
    """Opens a tiny backbone of a family; each is written and opened once per set of options."""
    root = tmp_path_factory.mktemp("tiny")
    opened: dict[tuple[object, ...], Backbone] = {}

    def open_it(name: str, **options: object) -> Backbone:
        key = (name, *sorted(options.items()))
        if key not in opened:
            if not (root / name).exists():
                write(name, root / name)
            with small_nets(FAMILIES[name]):
                opened[key] = open_backbone(f"local-dir:{root / name}", **options)  # type: ignore[arg-type]
        return opened[key]

    return open_it


@pytest.fixture(params=FAMILIES)
def tiny(request: pytest.FixtureRequest, open_tiny: OpenTiny) -> Tiny:
    """One tiny backbone of each family in turn."""
    return Tiny(request.param, FAMILIES[request.param], open_tiny(request.param))


@pytest.fixture(params=each_shape())
def shape(request: pytest.FixtureRequest, open_tiny: OpenTiny) -> Tiny:
    """A tiny backbone of each shape of grids; of each family with --all-families."""
    return Tiny(request.param, FAMILIES[request.param], open_tiny(request.param))


@pytest.fixture(scope="session")
def noise_images() -> list[InputImage]:
    """Eight images of coloured noise, 50 wide and 30 high, all different."""
    rng = np.random.default_rng(7)
    pixels = rng.integers(0, 256, (8, 30, 50, 3), dtype=np.uint8)
    return [read_image(rgb, f"noise {i}") for i, rgb in enumerate(pixels)]


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "hub"


@pytest.fixture
def local_hub(monkeypatch: pytest.MonkeyPatch, cache: Path) -> Iterator[LocalHub]:
    with running_hub(monkeypatch, cache) as found:
        yield found
