"""The protocol on images in memory gives what it gives on their folder; a data folder is not left."""

from pathlib import Path
from typing import Any

import pytest
import torch

from lake_core.backbones.backbone import Backbone
from lake_core.backbones.feature_store import FeatureStore
from lake_core.backbones.opening import open_backbone
from lake_core.config import LakeConfig
from lake_core.data.data_root import check_data_set, data_root, is_inside, listed
from lake_core.data.datasets import Dataset
from lake_core.data.samples import assets_folder, load_sample
from lake_core.errors import DatasetError
from lake_core.evaluation.in_memory import evaluate_dataset
from lake_core.evaluation.runner import evaluate

METAL = assets_folder() / "samples" / "metal"
ASKED: dict[str, Any] = {"shots": (1, 3), "seeds": (0, 1), "methods": ("lake", "random", "text")}


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    torch.set_num_threads(1)
    return open_backbone("lake-cnn", image_size=128)


def test_images_in_memory_are_measured_as_their_folder_is(backbone: Backbone) -> None:
    config = LakeConfig(top_k=20, object_name="flange")
    from_folder = evaluate([METAL], backbone, config, with_scores=True, **ASKED)
    in_memory = evaluate_dataset(load_sample("metal"), FeatureStore(backbone), config, **ASKED)
    for part in ("results", "summary", "scores", "normals"):
        ours, theirs = in_memory[part], from_folder[part]
        assert len(ours) == len(theirs)
        for one, expected in zip(ours, theirs, strict=True):
            for key in expected.keys() - {"seconds"}:
                value = expected[key]
                assert one[key] == (pytest.approx(value, abs=1e-5) if isinstance(value, float) else value), (part, key)
    assert in_memory["config"] == from_folder["config"]


def test_stored_activations_are_used_and_progress_reaches_the_end(backbone: Backbone) -> None:
    metal, store = load_sample("metal"), FeatureStore(backbone)
    seen: list[tuple[str, int, int]] = []
    evaluate_dataset(metal, store, pixel=False, on_progress=lambda *step: seen.append(step), **ASKED)
    assert seen[-1][1] == seen[-1][2]
    assert [done for _, done, _ in seen] == sorted(done for _, done, _ in seen)
    store.ensure([e.image for e in (*metal.normals, *metal.tests)], backbone.hook_points)
    n_forwards = store.n_forwards
    evaluate_dataset(metal, store, pixel=False, **ASKED)
    assert store.n_forwards == n_forwards


def test_what_report_raises_ends_the_work(backbone: Backbone) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        evaluate_dataset(load_sample("metal"), FeatureStore(backbone), on_progress=stop, **ASKED)


def test_too_few_normals_and_no_labels_are_told(backbone: Backbone) -> None:
    metal, store = load_sample("metal"), FeatureStore(backbone)
    with pytest.raises(DatasetError, match="ask for fewer"):
        evaluate_dataset(metal, store, shots=(99,))
    with pytest.raises(DatasetError, match="no labelled test image"):
        evaluate_dataset(Dataset("metal", metal.normals, ()), store, shots=(1,))


def test_nothing_outside_of_the_data_folder_can_be_chosen(tmp_path: Path) -> None:
    root, elsewhere = tmp_path / "root", tmp_path / "elsewhere"
    for folder in (root / "sets" / "bolt", elsewhere / "secret"):
        (folder / "train" / "good").mkdir(parents=True)
        (folder / "train" / "good" / "0.png").write_bytes(b"-")
    (root / "sets" / "linked").symlink_to(elsewhere / "secret")
    (root / "way_out").symlink_to(elsewhere)
    assert {name: [f.name for f in folders] for name, folders in listed(root).items()} == {"sets": ["bolt"]}
    assert not is_inside(root, root / ".." / "elsewhere")
    check_data_set(root, root / "sets" / "bolt")
    (root / "sets" / "bolt" / "train" / "good" / "1.png").symlink_to(elsewhere / "secret" / "train" / "good" / "0.png")
    with pytest.raises(DatasetError, match="link to outside"):
        check_data_set(root, root / "sets" / "bolt")
    table = root / "sets" / "bolt" / "labels.csv"
    (elsewhere / "accounts.csv").write_text("name,password\n")
    table.symlink_to(elsewhere / "accounts.csv")
    with pytest.raises(DatasetError, match=r"bolt: labels.csv lies outside of the data folder; copy it there\.$"):
        check_data_set(root, root / "sets" / "bolt")
    with pytest.raises(DatasetError, match="not below"):
        check_data_set(root, elsewhere / "secret")


def test_the_data_folder_is_named_by_argument_before_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAKE_DATA", "/environment")
    assert data_root(["--sample", "metal", "--data", "/argument"]) == Path("/argument")
    assert data_root([]) == Path("/environment")
    monkeypatch.delenv("LAKE_DATA")
    assert data_root(["--data"]) is None
