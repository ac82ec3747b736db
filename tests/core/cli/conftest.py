"""Images of woven parts, some with a blot, and the outcome of scoring them once."""

from pathlib import Path

import pytest
from PIL import Image
from typer.testing import Result

from tests.core.cli.commands import part, score


@pytest.fixture(scope="session")
def woven_parts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """normal/ with three images, test/ with two good ones, two bad ones, a broken file, a text and a mask."""
    root = tmp_path_factory.mktemp("parts")
    images: dict[str, Image.Image] = {f"normal/{i}.png": part(i) for i in range(3)}
    images |= {f"test/good/{i}.png": part(i) for i in (10, 2)}
    images |= {"test/bad spot/a.jpg": part(20, True), "test/bad spot/deep/b.png": part(21, True)}
    images |= {"test/ground_truth/bad spot/a_mask.png": Image.new("L", (96, 80), 255)}
    for name, image in images.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        image.save(root / name)
    (root / "test/good/torn.png").write_bytes((root / "test/good/2.png").read_bytes()[:300])
    (root / "test/readme.txt").write_text("no image")
    return root


@pytest.fixture(scope="session")
def scored(woven_parts: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Result, Path]:
    out = tmp_path_factory.mktemp("scored") / "not there yet"
    return score(woven_parts, out, "--object", "woven cloth", "--top-k", 50), out
