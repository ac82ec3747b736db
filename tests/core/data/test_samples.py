"""The built-in samples: all can be read, and what their cards say was measured on these files by this method."""

import json
import tomllib
from pathlib import Path

import numpy as np
import pytest

from lake_core.backbones.backbone import Backbone
from lake_core.data import samples
from lake_core.data.images import InputImage
from lake_core.data.samples import assets_folder, load_sample, measured_sample, sample_facts, sample_names
from lake_core.errors import DatasetError
from lake_core.evaluation.protocol import DEFAULT_METHODS
from lake_core.version import METHOD_VERSION
from tests.core.data.folders import MVTEC, write
from tests.core.measured_samples import (
    PATH,
    SEEDS,
    SHOTS,
    aurocs,
    border_auroc,
    border_brightness,
    content_hash,
)

NAMES = ("hazelnut", "deeppcb", "metal", "textile", "gravel")
AGAIN = "Measure the samples again: make measured"


def test_real_photographs_come_first() -> None:
    assert sample_names() == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_each_sample_has_eight_normal_images_and_a_mask_for_each_defect(name: str) -> None:
    data = load_sample(name)
    defective = [example for example in data.tests if example.label == "defective"]
    assert not data.problems
    assert len(data.normals) == 8
    assert 18 <= len(data.tests) <= 20
    assert len(data.tests) - len(defective) >= 6
    assert all(example.mask is not None and 0 < example.mask.mean() < 0.3 for example in defective)
    assert len({example.image.size for example in (*data.normals, *data.tests)}) == 1
    assert len({example.image.sha256 for example in (*data.normals, *data.tests)}) == 8 + len(data.tests)


def test_what_is_known_of_a_sample_is_known_of_no_other_name() -> None:
    objects = [facts.object_name for name in NAMES if (facts := sample_facts(name))]
    assert objects == ["hazelnut", "printed circuit board", "metal flange", "woven fabric", "gravel"]
    assert sample_facts("images") is None
    assert measured_sample("images") is None


def test_samples_stay_small_and_name_the_licence_that_asks_for_it() -> None:
    folder = assets_folder() / "samples"
    assert sum(path.stat().st_size for path in folder.rglob("*") if path.suffix in (".jpg", ".png")) < 8e6
    readme = (folder / "README.md").read_text()
    for words in ("Hazelnut Toy", "creativecommons.org/licenses/by/4.0", "resized", "DeepPCB", "MIT License"):
        assert words in readme


def test_the_wheel_holds_the_samples_and_their_figures_and_not_what_made_them() -> None:
    project = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text())
    wheel = project["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert "assets" in wheel["only-include"]
    assert wheel["exclude"] == ["assets/samples/*.py", "assets/screenshots", "assets/lake-cnn/training"]
    assert PATH.parent == assets_folder() / "samples"


@pytest.mark.parametrize("name", NAMES)
def test_figures_on_the_cards_belong_to_this_method_and_these_files(name: str) -> None:
    document = json.loads(PATH.read_text(encoding="utf-8"))
    assert document["method_version"] == METHOD_VERSION, AGAIN
    assert set(document["samples"]) == set(NAMES), AGAIN
    assert document["samples"][name]["sha256"] == content_hash(name), AGAIN
    measured = measured_sample(name)
    assert measured is not None
    assert (measured.shots, measured.seeds, set(measured.methods)) == (SHOTS, SEEDS, set(DEFAULT_METHODS))
    for method in measured.methods.values():
        assert method.mean == pytest.approx(np.mean(method.by_seed), abs=1e-4)
        assert method.low <= method.high
    assert measured.border == border_auroc(load_sample(name)), AGAIN


def test_one_seed_measured_again_gives_the_figures_on_the_card(lake_cnn: Backbone) -> None:
    measured = measured_sample("hazelnut")
    assert measured is not None
    now = aurocs("hazelnut", lake_cnn, ("lake", "all", "text"), SEEDS[:1])
    for method, found in now.items():
        assert found["by_seed"][0] == pytest.approx(measured.methods[method].by_seed[0], abs=0.011), AGAIN


def test_figures_of_another_version_of_the_method_are_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(samples, "METHOD_VERSION", METHOD_VERSION + 1)
    assert measured_sample("metal") is None


def test_the_brightness_of_the_border_leaves_the_middle_out() -> None:
    rgb = np.full((16, 24, 3), 40, np.uint8)
    rgb[2:-2, 3:-3] = 200
    assert border_brightness(InputImage("x.png", rgb, "0" * 64, (24, 16))) == 40


def test_samples_are_read_from_the_assets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "samples" / "textile", MVTEC)
    write(tmp_path / "samples" / "metal", MVTEC)
    write(tmp_path / "samples" / "LICENSES", {"x.txt": b"CC0"})
    monkeypatch.setattr(samples, "assets_folder", lambda: tmp_path)
    assert sample_names() == ("metal", "textile")
    assert load_sample("textile").name == "textile"
    assert len(load_sample("textile").tests) == 4
    for wrong in ("wood", "../samples/metal", ""):
        with pytest.raises(DatasetError, match=r"There is no sample '.*': choose one of metal, textile"):
            load_sample(wrong)


def test_assets_lie_beside_the_package_in_a_checkout() -> None:
    assert assets_folder().name == "assets"
    assert (assets_folder() / "lake-cnn").is_dir()
