"""`lake score --contributions` and `--html`: what explains each score adds up to it, and is written when asked for."""

import base64
import json
import re
from pathlib import Path

import pytest
from typer.testing import Result

import lake_core as lk
from tests.core.cli.commands import error_line, rows_of, score
from tests.core.visualization.blob import read_blob


def test_contributions_add_up_to_the_scores_of_the_table(woven_parts: Path, tmp_path: Path) -> None:
    out = tmp_path / "with contributions"
    result = score(woven_parts, out, "--top-k", 30, "--layers", "12,15", "--contributions")
    assert result.exit_code == 0, result.output
    document = json.loads((out / "contributions.json").read_text(encoding="utf-8"))
    assert str(out / "contributions.json") in result.output
    assert document["schema"] == 2
    rows = rows_of(out)
    assert [item["path"] for item in document["images"]] == [row["path"] for row in rows]
    lake_again = lk.Lake(lk.open_backbone("lake-cnn", image_size=128), lk.LakeConfig(top_k=30, layers=(12, 15)))
    lake_again.fit(sorted((woven_parts / "normal").iterdir()))
    for item, row in zip(document["images"], rows, strict=True):
        for name in ("score", "threshold", "visual", "text"):
            assert item[name] == float(row[name])
        assert sum(item["parts"].values()) == pytest.approx(item["score"], rel=1e-4)
        assert sum(layer["contribution"] for layer in item["layers"]) == pytest.approx(item["parts"]["visual"])
        assert [layer["layer"] for layer in item["layers"]] == [12, 15]
        again = lake_again.explain(woven_parts / "test" / item["path"])
        assert item["patch"] == again.patch
        assert [item["grid"]["rows"], item["grid"]["cols"]] == list(again.map.shape)
        for layer in item["layers"]:
            assert (len(layer["neurons"]), layer["rest"]["n_neurons"]) == (10, 20)
            named = sum(neuron["contribution"] for neuron in layer["neurons"])
            assert named + layer["rest"]["contribution"] == pytest.approx(layer["contribution"])
            top_neurons = again.top_neurons(None, layer["layer"], top=10)
            assert [neuron["neuron"] for neuron in layer["neurons"]] == top_neurons["neuron"].tolist()


def test_contributions_and_pages_are_written_only_when_asked_for(scored: tuple[Result, Path]) -> None:
    assert not (scored[1] / "contributions.json").exists()
    assert not (scored[1] / "html").exists()


def test_html_writes_a_page_with_the_score_of_each_image(woven_parts: Path, tmp_path: Path) -> None:
    result = score(woven_parts, tmp_path, "--top-k", 20, "--html")
    assert result.exit_code == 0, result.output
    assert str(tmp_path / "html") in result.output
    pages = {path.relative_to(tmp_path / "html").as_posix(): path for path in (tmp_path / "html").rglob("*.html")}
    rows = {Path(row["path"]).with_suffix(".html").as_posix(): row for row in rows_of(tmp_path)}
    assert pages.keys() == rows.keys()
    for name, path in pages.items():
        assert path.stat().st_size <= 3_000_000
        payload = re.search(r'id="payload">([^<]+)<', path.read_text(encoding="utf-8"))
        assert payload is not None
        header = read_blob(base64.b64decode(payload[1])).header
        assert header["score"] == float(rows[name]["score"])
        assert header["threshold"] == float(rows[name]["threshold"])
        assert len(header["layers"][0]["neurons"]) == 20


def test_pages_that_cannot_be_written_are_one_line(woven_parts: Path, tmp_path: Path) -> None:
    (tmp_path / "html").write_text("in the way")
    assert "cannot be written (" in error_line(score(woven_parts, tmp_path, "--html"), code=1)
