"""docs/notebook.ipynb runs from top to bottom as it is committed, without outputs."""

import ast
import json
from pathlib import Path
from typing import Any

import pytest

import lake_core as lk
from lake_core.sentences import sentence

NOTEBOOK = Path(__file__).parents[2] / "docs/notebook.ipynb"


def cells(kind: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    return [cell for cell in found if cell["cell_type"] == kind]


def run_cell(source: str, names: dict[str, Any]) -> object:
    """Runs a cell as a notebook does; the value of its last expression, or None."""
    parsed = ast.parse(source)
    last = parsed.body[-1]
    if not isinstance(last, ast.Expr):
        exec(compile(parsed, "cell", "exec"), names)
        return None
    parsed.body[-1] = ast.Assign([ast.Name("_", ast.Store())], last.value)
    exec(compile(ast.fix_missing_locations(parsed), "cell", "exec"), names)
    return names["_"]


def test_it_is_a_notebook_without_outputs() -> None:
    document = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    assert (document["nbformat"], document["nbformat_minor"]) == (4, 5)
    assert document["metadata"]["kernelspec"]["name"] == "python3"
    for cell in cells("code"):
        assert cell["outputs"] == []
        assert cell["execution_count"] is None
    ids = [cell["id"] for cell in document["cells"]]
    assert len(ids) == len(set(ids))


def test_every_link_leads_somewhere() -> None:
    text = "".join("".join(cell["source"]) for cell in cells("markdown"))
    links = [part.split(")")[0] for part in text.split("](")[1:]]
    assert links
    assert all((NOTEBOOK.parent / link).is_file() for link in links)


def test_it_runs_from_top_to_bottom_and_shows_what_it_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    values = [run_cell("".join(cell["source"]), names) for cell in cells("code")]
    shown = [value._repr_html_() for value in values if hasattr(value, "_repr_html_")]
    assert len(shown) == 10
    assert all(text.startswith("<") for text in shown)
    assert (tmp_path / "hazelnut.html").stat().st_size < 3_000_000

    lake, best = names["lake"], names["best"]
    assert lake.threshold_ < best.score == max(result.score for result in names["results"])
    assert names["contributions"]["contribution"].sum() == pytest.approx(best.score, rel=1e-4)
    assert len(names["control"].draws) == 99
    for found in (names["ablation"], names["ablation_control"]):
        assert sentence(found.finding) in found._repr_html_().replace("&#x27;", "'")
    assert isinstance(lake, lk.Lake)
    assert names["activations"].shape == (28, 103)
