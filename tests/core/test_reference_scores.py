"""Scores do not change unnoticed: whoever changes them raises METHOD_VERSION, and old work is not mixed with new."""

import json
from pathlib import Path

import pytest

from lake_core.version import METHOD_VERSION
from tests.core.reference_scores import PATH, computed, differing, main

REWRITE = "write them anew: python -m tests.core.reference_scores"


@pytest.fixture(scope="module")
def now(one_thread: None) -> dict[str, dict[str, list[float]]]:
    return computed()


def test_scores_are_those_of_this_version_of_the_method(now: dict[str, dict[str, list[float]]]) -> None:
    kept = json.loads(PATH.read_text(encoding="utf-8"))
    assert kept["method_version"] == METHOD_VERSION, f"The reference scores are of another version; {REWRITE}"
    assert {case: set(rows) for case, rows in kept["scores"].items()} == {case: set(rows) for case, rows in now.items()}
    changed = differing(kept["scores"], now)
    assert not changed, f"Scores changed: raise METHOD_VERSION in lake_core/version.py, then {REWRITE}\n" + "\n".join(
        changed
    )


def test_reference_scores_have_both_parts(now: dict[str, dict[str, list[float]]]) -> None:
    assert {len(values) for rows in now.values() for values in rows.values()} == {3}
    for rows in now.values():
        for score, visual, text in rows.values():
            assert score == pytest.approx(0.7 * visual + 0.3 * text, rel=1e-6)
            assert visual > 0
        assert any(text > 0 for _, _, text in rows.values())


def test_a_change_of_two_in_ten_thousand_is_seen_and_one_in_a_million_is_not() -> None:
    before = {"case": {"metal/a.png": [1.0, 0.8, 0.2]}}
    assert differing(before, {"case": {"metal/a.png": [1.000001, 0.8, 0.2]}}) == []
    changed = differing(before, {"case": {"metal/a.png": [1.0, 0.8, 0.20004]}})
    assert changed == ["case, metal/a.png: text was 0.2, is 0.20004"]


def test_references_are_not_rewritten_while_the_version_is_the_same(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, now: dict[str, dict[str, list[float]]]
) -> None:
    path = tmp_path / "scores.json"
    changed = {
        case: {name: [2 * value for value in values] for name, values in rows.items()} for case, rows in now.items()
    }
    path.write_text(json.dumps({"method_version": METHOD_VERSION, "scores": changed}))
    monkeypatch.setattr("tests.core.reference_scores.PATH", path)
    monkeypatch.setattr("tests.core.reference_scores.computed", lambda: now)
    with pytest.raises(SystemExit, match="Raise METHOD_VERSION"):
        main()
    monkeypatch.setattr("tests.core.reference_scores.METHOD_VERSION", METHOD_VERSION + 1)
    main()
    assert json.loads(path.read_text()) == {"method_version": METHOD_VERSION + 1, "scores": now}
