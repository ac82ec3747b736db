"""`lake neurons`: the numbers of `Lake.neurons`, as JSON."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from typer.testing import CliRunner, Result

import lake_core as lk
from lake_core.cli import app
from lake_core.data.datasets import Example
from lake_core.neurons.concepts import NO_CONCEPT
from lake_core.neurons.nonsense import nonsense_finding, nonsense_words
from lake_core.neurons.statistics import COLUMNS, neuron_table
from lake_core.sentences import sentence


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("parts")
    rng = np.random.default_rng(0)
    for name in ("normal/0.png", "normal/1.png", "test/good/2.png", "test/spot/3.png"):
        rgb = rng.integers(90, 160, (64, 64, 3), dtype=np.uint8)
        if "spot" in name:
            rgb[20:44, 20:44] = (250, 30, 30)
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rgb).save(root / name)
    (root / "test/good/torn.png").write_bytes((root / "normal/0.png").read_bytes()[:200])
    return root


def neurons(root: Path, out: Path, *more: object) -> Result:
    arguments = ["neurons", "--normal", root / "normal", "--image-size", 128, "--json", out, *more]
    return CliRunner().invoke(app.app, [str(argument) for argument in arguments])


def test_writes_the_numbers_of_the_api(parts: Path, tmp_path: Path) -> None:
    out = tmp_path / "neurons.json"
    result = neurons(parts, out, "--test", parts / "test", "--layer", 12, "--object", "a plate")
    assert result.exit_code == 0, result.output
    document = json.loads(out.read_text())
    assert (document["layer"], document["site"], document["image_size"]) == (12, "mlp_hidden", 128)
    assert document["tests"] == ["good/2.png", "spot/3.png"]
    assert len(document["problems"]) == 1
    assert document["object_name"] == "a plate"

    lake = lk.Lake(lk.open_backbone("lake-cnn", image_size=128), lk.LakeConfig())
    lake.fit([parts / "normal/0.png", parts / "normal/1.png"])
    tests = [
        Example(lk.read_image(parts / "test/good/2.png"), "good"),
        Example(lk.read_image(parts / "test/spot/3.png"), "defective"),
    ]
    table = neuron_table(lake, 12, tests)
    assert len(document["neurons"]) == len(table) == lake.backbone.layer(12).n_neurons["mlp_hidden"]
    for name in COLUMNS:
        found = [row[name] for row in document["neurons"]]
        if table[name].dtype.kind == "f":
            np.testing.assert_allclose(found, table[name], rtol=1e-6)
        else:
            assert found == table[name].tolist(), name


def test_describes_the_top_neurons_with_words_of_ones_own(parts: Path, tmp_path: Path) -> None:
    out, words = tmp_path / "neurons.json", tmp_path / "words.txt"
    words.write_text("# mine\nred\nblue\ngreen\n")
    result = neurons(parts, out, "--test", parts / "test", "--top", 2, "--describe", "--concepts", words)
    assert result.exit_code == 0, result.output
    document = json.loads(out.read_text())
    assert [row["rank"] for row in document["neurons"]] == [1, 2]
    assert [one["neuron"] for one in document["concept_labels"]] == [row["neuron"] for row in document["neurons"]]
    for row, one in zip(document["neurons"], document["concept_labels"], strict=True):
        assert row["concepts"] == (", ".join(one["concepts"]) or NO_CONCEPT)
        assert one["effect_by"] == "ablation"
        assert {score["concept"] for score in one["agreement"]} == {"red", "blue", "green"}
    control = document["nonsense_control"]
    assert control["words"] == list(nonsense_words(("red", "blue", "green")))
    assert [one["neuron"] for one in control["labels"]] == [row["neuron"] for row in document["neurons"]]
    labelled = [bool(one["concepts"]) for one in document["concept_labels"]]
    nonsense = [bool(one["concepts"]) for one in control["labels"]]
    finding = nonsense_finding(np.array(labelled), np.array(nonsense), 0.05)
    assert {name: control[name] for name in vars(finding)} == vars(finding)
    assert (control["n_by_chance"], control["real_words_win"]) == (0.1, False)
    assert sentence(finding) in result.output.replace("\n", " ")


def test_without_labels_there_is_no_control(parts: Path, tmp_path: Path) -> None:
    out = tmp_path / "neurons.json"
    assert neurons(parts, out, "--top", 1).exit_code == 0
    document = json.loads(out.read_text())
    assert (document["concept_labels"], document["nonsense_control"]) == ([], None)


@pytest.mark.parametrize(
    ("more", "words"), [(["--layer", 99], "no layer 99"), (["--describe", "--concepts", "none.txt"], "none.txt")]
)
def test_what_cannot_be_is_one_line(parts: Path, tmp_path: Path, more: list[object], words: str) -> None:
    result = neurons(parts, tmp_path / "neurons.json", *more)
    assert result.exit_code == 2
    assert words in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


def test_the_selection_is_the_one_that_was_asked_for(parts: Path, tmp_path: Path) -> None:
    out = tmp_path / "neurons.json"
    options = ["--layer", 12, "--top-k", 7, "--criterion", "random", "--seed", 3, "--site", "residual_channel"]
    assert neurons(parts, out, *options).exit_code == 0
    document = json.loads(out.read_text())
    config = lk.LakeConfig(layers=(12,), top_k=7, criterion="random", seed=3, site="residual_channel")
    lake = lk.Lake(lk.open_backbone("lake-cnn", image_size=128), config)
    lake.fit([parts / "normal/0.png", parts / "normal/1.png"])
    selected = [row["neuron"] for row in document["neurons"] if row["selected"]]
    assert selected == lake.selection_[12].neurons.tolist()
    assert (document["top_k"], document["seed"]) == (7, 3)


def test_a_preset_selects_as_the_paper_does_and_gives_way_to_options(parts: Path, tmp_path: Path) -> None:
    out = tmp_path / "neurons.json"
    assert neurons(parts, out, "--preset", "paper", "--top-k", 8).exit_code == 0
    document = json.loads(out.read_text())
    assert (document["site"], document["criterion"], document["top_k"]) == ("residual_channel", "variance", 8)


def test_activations_are_written_as_csv(parts: Path, tmp_path: Path) -> None:
    out, table = tmp_path / "neurons.json", tmp_path / "activations.csv"
    result = neurons(parts, out, "--test", parts / "test", "--top-k", 5, "--csv", table)
    assert result.exit_code == 0, result.output
    assert f"Written to {out} and {table}" in result.stdout.replace("\n", " ")
    lake = lk.Lake(lk.open_backbone("lake-cnn", image_size=128), lk.LakeConfig(top_k=5))
    lake.fit([parts / "normal/0.png", parts / "normal/1.png"])
    tests = [
        Example(lk.read_image(parts / "test/good/2.png", "good/2.png"), "good"),
        Example(lk.read_image(parts / "test/spot/3.png", "spot/3.png"), "defective"),
    ]
    pd.testing.assert_frame_equal(pd.read_csv(table), lk.neuron_activations(lake, tests), check_dtype=False, rtol=1e-6)


def test_activations_are_of_the_layer_that_was_asked_for(parts: Path, tmp_path: Path) -> None:
    table = tmp_path / "activations.csv"
    assert neurons(parts, tmp_path / "n.json", "--layer", 12, "--top-k", 3, "--csv", table).exit_code == 0
    columns = list(pd.read_csv(table).columns)
    assert len(columns) == 6
    assert all(name.startswith("layer12_neuron") for name in columns[3:])


def test_a_csv_that_cannot_be_written_is_told_first(parts: Path, tmp_path: Path) -> None:
    result = neurons(parts, tmp_path / "n.json", "--csv", tmp_path / "none/a.csv")
    assert result.exit_code == 2
    assert not (tmp_path / "n.json").exists()
