"""`lake project`: saved, verified and listed, with one line and an exit code for what goes wrong."""

import json
import zipfile
from pathlib import Path

import pytest
from typer.testing import Result

from lake_core.cli import dashboard
from lake_core.projects.project_file import project_bytes, read_project, write_project
from lake_core.projects.store import WAITING, Store
from tests.core.cli.commands import error_line, lake, rows_of, score
from tests.core.projects.cases import entries, packed, project


def save(root: Path, out: Path, *more: object) -> Result:
    common = ("--normal", root / "normal", "--test", root / "test", "--image-size", 128)
    return lake("project", "save", *common, "--out", out, *more)


@pytest.fixture(scope="module")
def saved(woven_parts: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Result, Path]:
    out = tmp_path_factory.mktemp("projects") / "parts.lake"
    return save(woven_parts, out, "--object", "woven cloth", "--top-k", 50), out


def other_manifest(path: Path, out: Path, old: str, new: str) -> Path:
    files = entries(path.read_bytes())
    text = files["manifest.json"].decode()
    assert old in text
    out.write_bytes(packed(files | {"manifest.json": text.replace(old, new).encode()}))
    return out


def test_images_labels_masks_and_configuration_are_saved(saved: tuple[Result, Path]) -> None:
    result, out = saved
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith(f"{out}: 7 images")
    assert "good/torn.png is damaged" in result.stderr
    manifest = read_project(out).manifest
    assert [image.name for image in manifest.normals] == ["normal/0.png", "normal/1.png", "normal/2.png"]
    assert {image.name: (image.label, image.kind, image.mask is not None) for image in manifest.tests} == {
        "test/good/2.png": ("good", None, False),
        "test/good/10.png": ("good", None, False),
        "test/bad spot/a.jpg": ("defective", "bad spot", True),
        "test/bad spot/deep/b.png": ("defective", "bad spot", False),
    }
    config = manifest.configuration.config()
    assert (config.object_name, config.top_k, manifest.configuration.image_size) == ("woven cloth", 50, 128)


def test_the_scores_are_those_of_lake_score(
    saved: tuple[Result, Path], scored: tuple[Result, Path], woven_parts: Path
) -> None:
    manifest = read_project(saved[1]).manifest
    assert manifest.scores is not None
    by_name = {image.name.removeprefix("test/"): manifest.scores.tests[image.sha256] for image in manifest.tests}
    rows = rows_of(scored[1])
    assert len(rows) == len(by_name)
    for row in rows:
        found = by_name[row["path"]]
        for part in ("score", "visual", "text"):
            assert float(row[part]) == pytest.approx(getattr(found, part), rel=1e-5, abs=1e-6)
        assert float(row["threshold"]) == pytest.approx(manifest.scores.threshold, rel=1e-6)


def test_nothing_of_this_machine_is_in_the_file(saved: tuple[Result, Path], woven_parts: Path) -> None:
    manifest = entries(saved[1].read_bytes())["manifest.json"].decode()
    assert str(woven_parts) not in manifest
    assert str(Path.home()) not in manifest


def test_verify_agrees_with_exit_code_0(saved: tuple[Result, Path]) -> None:
    result = lake("project", "verify", saved[1])
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines() == ["parts.lake: All 16 numbers agree to 0.0001."]


def test_verify_says_what_differs_with_exit_code_1(saved: tuple[Result, Path], tmp_path: Path) -> None:
    manifest = read_project(saved[1]).manifest
    assert manifest.scores is not None
    threshold = repr(manifest.scores.threshold)
    changed = other_manifest(saved[1], tmp_path / "a.lake", f'"threshold": {threshold}', '"threshold": 0.5')
    changed = other_manifest(changed, changed, manifest.made_with.weights["open_clip_model.safetensors"], "b" * 64)
    result = lake("project", "verify", changed)
    assert result.exit_code == 1
    assert "1 of 16 numbers differ by more than 0.0001; most of all the threshold: 0.5 in the project" in result.stdout
    assert f"open_clip_model.safetensors has sha256 {'b' * 12} … in the project" in result.stdout


def test_verify_with_another_backbone_says_so(saved: tuple[Result, Path]) -> None:
    result = lake("project", "verify", saved[1], "--model", "lake-vit")
    assert result.exit_code == 1
    assert "The backbone differs: lake-cnn in the project, lake-vit here." in result.stdout


def test_another_backbone_is_opened_at_its_own_input_size(saved: tuple[Result, Path], tmp_path: Path) -> None:
    size = read_project(saved[1]).manifest.configuration.image_size
    changed = other_manifest(saved[1], tmp_path / "a.lake", f'"image_size": {size}', '"image_size": 384')
    result = lake("project", "verify", changed, "--model", "lake-vit")
    assert result.exit_code == 1
    assert "The input size differs: 384 in the project, 128 here." in result.stdout


@pytest.mark.parametrize("spec", ["hf-hub:evil/model", "local-dir:model", "checkpoint:a.pt@b.json"])
def test_no_model_is_opened_because_a_file_names_it(saved: tuple[Result, Path], tmp_path: Path, spec: str) -> None:
    changed = other_manifest(saved[1], tmp_path / "a.lake", '"spec": "lake-cnn"', f'"spec": "{spec}"')
    assert "name the model that you trust with --model" in error_line(lake("project", "verify", changed), code=2)


def test_a_file_that_cannot_be_used_is_exit_code_2(tmp_path: Path) -> None:
    (tmp_path / "a.lake").write_bytes(b"nothing")
    assert "not a ZIP archive" in error_line(lake("project", "verify", tmp_path / "a.lake"), code=2)
    assert "cannot be read" in error_line(lake("project", "verify", tmp_path / "none.lake"), code=2)
    assert "not a ZIP archive" in error_line(lake("project", "open", tmp_path / "a.lake", "--headless"), code=2)


def test_wrong_usage_is_said_before_anything_runs(woven_parts: Path, tmp_path: Path) -> None:
    assert "must end with .lake" in error_line(save(woven_parts, tmp_path / "a.zip"), code=2)
    assert "--resize is 'crop'" in error_line(save(woven_parts, tmp_path / "a.lake", "--resize", "crop"), code=2)
    assert "does not exist" in error_line(save(tmp_path / "none", tmp_path / "a.lake"), code=2)
    assert list(tmp_path.iterdir()) == []


def test_more_images_than_a_project_holds_are_refused(
    woven_parts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lake_core.cli.project.MAX_IMAGES", 3)
    said = error_line(save(woven_parts, tmp_path / "a.lake"), code=2)
    assert "--test holds 4 images; a project holds up to 3 on each side" in said


def test_open_hands_the_file_to_the_dashboard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_project(project(), tmp_path / "a.lake")
    handed: list[dashboard.Begin] = []
    monkeypatch.setattr(dashboard, "launch", lambda port, host, begin, open_browser: handed.append(begin))
    assert lake("project", "open", tmp_path / "a.lake").exit_code == 0
    assert handed == [dashboard.Begin(project=tmp_path / "a.lake")]
    arguments = dashboard.streamlit_arguments(Path("app.py"), "127.0.0.1", 8501, handed[0])
    assert arguments[-3:] == ["--", "--project", str(tmp_path / "a.lake")]


def test_the_store_is_listed_for_its_owner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert f"0 shared projects and 0 sessions in {tmp_path}" in lake("project", "list", "--store", tmp_path).stdout
    assert "is no folder" in error_line(lake("project", "list", "--store", tmp_path / "typo"), code=2)
    identity = Store(tmp_path).share(project())
    Store(tmp_path).keep_session(f"{identity}{WAITING}", project(1))
    monkeypatch.setenv("LAKE_STORE", str(tmp_path))
    lines = lake("project", "list").stdout.splitlines()
    assert lines[0].startswith(f"shared   {identity}")
    assert lines[0].endswith("plates")
    assert lines[1].startswith(f"waiting  {identity}{WAITING}")
    assert lines[2] == f"1 shared project and 0 sessions in {tmp_path}"


def test_a_manifest_is_plain_json(saved: tuple[Result, Path]) -> None:
    with zipfile.ZipFile(saved[1]) as archive:
        assert json.loads(archive.read("manifest.json"))["format"] == "lake-project"
    assert project_bytes(read_project(saved[1])) == saved[1].read_bytes()


def test_a_folder_of_a_data_set_brings_its_masks_and_labels(woven_parts: Path, tmp_path: Path) -> None:
    out = tmp_path / "a.lake"
    common = ("--normal", woven_parts / "normal", "--image-size", 128, "--out", out)
    assert lake("project", "save", *common, "--test", woven_parts / "test" / "bad spot" / "a.jpg").exit_code == 0
    assert [image.name for image in read_project(out).manifest.tests] == ["a.jpg"]


def test_scoring_and_saving_take_the_same_options(woven_parts: Path, tmp_path: Path) -> None:
    options = ("--top-k", 40, "--layers", "12,15", "--resize", "letterbox", "--criterion", "snr", "--fusion-weight", 0)
    assert save(woven_parts, tmp_path / "a.lake", *options).exit_code == 0
    assert score(woven_parts, tmp_path / "out", *options).exit_code == 0
    manifest = read_project(tmp_path / "a.lake").manifest
    assert manifest.scores is not None
    assert manifest.configuration.resize == "letterbox"
    assert json.loads((tmp_path / "out" / "config.json").read_text())["threshold"] == pytest.approx(
        manifest.scores.threshold, rel=1e-5
    )
    assert lake("project", "verify", tmp_path / "a.lake").exit_code == 0
