"""`lake` commands as they are typed, and what they left: the table of scores, the line of an error."""

import csv
from pathlib import Path

import numpy as np
from PIL import Image
from scipy import ndimage
from typer.testing import CliRunner, Result

from lake_core.cli import app

COLUMNS = ["path", "score", "visual", "text", "threshold", "is_anomalous"]
COLUMNS += ["image_path", "split", "label_index", "mask_path"]
ROOT = Path(__file__).resolve().parents[3]


def part(seed: int, with_defect: bool = False) -> Image.Image:
    """A woven texture, 96 x 80, and on it, if asked for, a bright blot in the right half."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:80, :96]
    weave = 110 + 40 * np.sin(x * 0.8 + seed) * np.cos(y * 0.7) + ndimage.gaussian_filter(rng.normal(0, 25, x.shape), 1)
    rgb = np.repeat(weave[..., None], 3, axis=2)
    if with_defect:
        rgb[30:52, 60:84] = (250, 240, 60)
    return Image.fromarray(rgb.clip(0, 255).astype(np.uint8))


def lake(*arguments: object) -> Result:
    return CliRunner().invoke(app.app, [str(argument) for argument in arguments])


def score(root: Path, out: Path, *more: object, normal: str = "normal", test: str = "test") -> Result:
    return lake("score", "--normal", root / normal, "--test", root / test, "--image-size", 128, "--out", out, *more)


def rows_of(out: Path) -> list[dict[str, str]]:
    with (out / "scores.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def error_line(result: Result, *, code: int) -> str:
    """The one line on stderr."""
    assert result.exit_code == code, result.output
    lines = [line for line in result.stderr.splitlines() if line.startswith("Error: ")]
    assert len(lines) == 1
    assert "Traceback" not in result.output
    return lines[0]
