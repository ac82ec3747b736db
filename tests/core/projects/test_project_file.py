"""`NAME.lake`: what is written comes back, and what anybody else may write is refused in one sentence."""

import io
import json
import os
import zipfile
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lake_core.config import LakeConfig
from lake_core.data.datasets import Dataset, Example
from lake_core.data.images import read_image
from lake_core.errors import LakeError, ProjectError
from lake_core.projects import manifest as limits
from lake_core.projects.manifest import Configuration, Parameters
from lake_core.projects.project import Project, project_of, sha256_of
from lake_core.projects.project_file import project_bytes, read_project, write_project
from tests.core.data.folders import png
from tests.core.projects.cases import CONFIG, MADE, entries, images, packed, project, with_manifest


def refusal(data: bytes) -> str:
    """The one sentence with which a file is refused, its images included."""
    with pytest.raises(ProjectError) as raised:
        read_project(data, "x.lake").dataset()
    message = str(raised.value)
    assert "\n" not in message
    assert message.isprintable()
    assert len(message) < 500
    return message


# What is written comes back ------------------------------------------------------------------------------------------


def test_a_project_comes_back_as_it_was_saved(tmp_path: Path) -> None:
    saved = project()
    write_project(saved, tmp_path / "plates.lake")
    found = read_project(tmp_path / "plates.lake")
    assert found.manifest == saved.manifest
    assert found.files == saved.files
    assert found.manifest.configuration.config() == CONFIG
    assert os.listdir(tmp_path) == ["plates.lake"]


def test_images_labels_and_masks_come_back(tmp_path: Path) -> None:
    given, found = images(), read_project(project_bytes(project())).dataset()
    assert found.name == "plates"
    for own, other in zip((*given.normals, *given.tests), (*found.normals, *found.tests), strict=True):
        assert own.image == other.image  # name and sha256
        assert np.array_equal(own.image.rgb, other.image.rgb)
        assert (own.label, own.kind) == (other.label, other.kind)
        masks = [mask.tolist() for mask in (own.mask, other.mask) if mask is not None]
        assert masks[:1] == masks[1:]
    assert sum(example.mask is not None for example in found.tests) == 1


def test_the_same_project_is_the_same_bytes_and_holds_the_files_as_they_came() -> None:
    first, second = project_bytes(project()), project_bytes(project())
    assert first == second
    assert png(0) in entries(first).values()


def test_a_file_holds_no_path_no_pickle_and_no_date() -> None:
    data = project_bytes(project())
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert {info.date_time for info in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        assert {name.split("/")[0] for name in archive.namelist()} == {"manifest.json", "files"}
    assert str(Path.home()).encode() not in data
    assert b"\x80\x04\x95" not in entries(data)["manifest.json"]


def test_pixels_without_a_file_are_saved_as_png() -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8)
    given = Dataset("arrays", (Example(read_image(rgb, "/abs/../a\x1b[31m.png"), "good"),), ())
    found = read_project(project_bytes(project_of(given, Configuration.of("lake-cnn", None, LakeConfig()), MADE)))
    (example,) = found.dataset().normals
    assert np.array_equal(example.image.rgb, rgb)
    assert example.image.name == "abs/a�[31m.png"


def test_two_images_of_one_name_can_be_told_apart() -> None:
    tests = tuple(Example(read_image(png(seed), "a.png", keep_encoded=True)) for seed in (1, 2))
    saved = project_of(Dataset("x", (), tests), Configuration.of("lake-cnn", None, LakeConfig()), MADE)
    assert [image.name for image in saved.manifest.tests] == ["a.png", "a (2).png"]


def test_every_parameter_of_the_method_has_its_place() -> None:
    assert set(Parameters.model_fields) == {field.name for field in fields(LakeConfig)}


def test_what_cannot_be_kept_is_said_before_anything_is_written() -> None:
    with pytest.raises(ProjectError, match=r"cannot be saved as a project: parameters\.smooth"):
        Configuration.of("lake-cnn", None, LakeConfig(smooth=101))
    many = replace(images(), tests=images().tests[:1] * (limits.MAX_IMAGES + 1))
    with pytest.raises(ProjectError, match="cannot be saved"):
        project_of(many, Configuration.of("lake-cnn", None, LakeConfig()), MADE)


def test_a_file_that_cannot_be_written_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "plates.lake"
    write_project(project(), path)
    before = path.read_bytes()

    def full(number: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(LakeError, match="No space left on device"):
        write_project(project(50), path)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["plates.lake"]


# What others may write -----------------------------------------------------------------------------------------------

Change = Callable[[dict[str, Any]], object]
LIES: dict[str, tuple[Change, str]] = {
    "a newer version": (lambda m: m.update(schema_version=2, unheard=1), "saved by a newer LAKE Explorer"),
    "another format": (lambda m: m.update(format="other"), "no manifest of a project"),
    "an unknown key": (lambda m: m.update(run="rm"), "run: Extra inputs"),
    "no configuration": (lambda m: m.pop("configuration"), "configuration: Field required"),
    "a number for a text": (lambda m: m.update(name=7), "name: Input should be a valid string"),
    "a text for a number": (lambda m: m.update(own_threshold="1.5"), "own_threshold"),
    "NaN": (lambda m: m.update(own_threshold=float("nan")), "own_threshold"),
    "infinity": (lambda m: m["scores"].update(threshold=float("inf")), "scores.threshold"),
    "a huge number": (lambda m: m.update(own_threshold=1e300), "own_threshold"),
    "a huge layer": (lambda m: m["chosen"].update(layer=10**30), "chosen.layer"),
    "a negative patch": (lambda m: m["chosen"].update(patch=-1), "chosen.patch"),
    "huge smoothing": (lambda m: m["configuration"]["parameters"].update(smooth=10**6 + 1), "smooth"),
    "even smoothing": (lambda m: m["configuration"]["parameters"].update(smooth=4), "smooth is 4"),
    "no such criterion": (lambda m: m["configuration"]["parameters"].update(criterion="os.system"), "criterion"),
    "a huge input": (lambda m: m["configuration"].update(image_size=100_000), "image_size"),
    "too many prompts": (
        lambda m: m["configuration"]["parameters"]["prompts"].update(
            normal_states=["{}"] * 200, templates=["a {}."] * 200
        ),
        "prompts are more than",
    ),
    "a prompt without a place": (
        lambda m: m["configuration"]["parameters"]["prompts"].update(templates=["nothing"]),
        "exactly one {}",
    ),
    "a path as a name": (lambda m: m["tests"][0].update(name="../../etc/passwd"), "no relative path"),
    "an absolute name": (lambda m: m["tests"][0].update(name="/etc/passwd"), "no relative path"),
    "a drive": (lambda m: m["tests"][0].update(name="C:/x.png"), "no relative path"),
    "a name with an escape": (lambda m: m["tests"][0].update(name="a\x1b[2J.png"), "no relative path"),
    "one name twice": (lambda m: m["tests"][0].update(name=m["tests"][1]["name"]), "have one name"),
    "one image twice": (lambda m: m["tests"].append(m["tests"][0] | {"name": "b.png"}), "have one sha256"),
    "a hash in capitals": (lambda m: m["tests"][0].update(sha256="A" * 64), "tests.0.sha256"),
    "a path as a hash": (lambda m: m["tests"][0].update(sha256="../" * 21 + "x"), "tests.0.sha256"),
    "a label of its own": (lambda m: m["tests"][0].update(label="ugly"), "tests.0.label"),
    "a defective normal image": (lambda m: m["normals"][0].update(label="defective"), "normal image is labelled"),
    "an image that is not there": (lambda m: m["tests"][2].update(sha256="0" * 64), "scores are those of other"),
    "a mask that is not there": (lambda m: m["tests"][0].update(mask="0" * 64), "lacks files/0000"),
    "scores of other images": (lambda m: m["scores"]["tests"].popitem(), "scores are those of other images"),
    "a key that writes on the terminal": (lambda m: m.update({"\x1b[2J\nx": 1}), "Extra inputs"),
    "a note without end": (lambda m: m["pins"][0].update(note="x" * 501), "pins.0.note"),
    "pins without end": (lambda m: m.update(pins=m["pins"][:1] * 501), "pins"),
}


@pytest.mark.parametrize(("change", "said"), LIES.values(), ids=LIES)
def test_a_manifest_that_lies_is_refused(change: Change, said: str) -> None:
    assert said in refusal(with_manifest(change))


def changed(**files: bytes | None) -> dict[str, bytes]:
    """The files of the small project, some replaced, added or, with None, left out."""
    found: dict[str, bytes | None] = {**entries(project_bytes(project())), **files}
    return {name: content for name, content in found.items() if content is not None}


def first_image() -> str:
    return f"files/{project().manifest.tests[0].sha256}"


def test_what_is_no_project_is_said() -> None:
    assert "not a ZIP archive" in refusal(b"")
    assert "not a ZIP archive" in refusal(png(0))
    assert "no project: it holds no manifest.json" in refusal(packed({"a.png": png(0)}))
    assert "no manifest of a project" in refusal(packed({"manifest.json": b"[" * 100_000}))
    assert "no manifest of a project" in refusal(packed({"manifest.json": b"\xff\xfe"}))
    assert "more than 5 MB" in refusal(packed({"manifest.json": b" " * 5_000_001}))


def test_files_that_are_missing_other_or_too_many_are_said() -> None:
    assert "lacks files/" in refusal(packed(changed(**{first_image(): None})))
    assert "is not what the manifest says" in refusal(packed(changed(**{first_image(): png(99)})))
    assert "does not name" in refusal(packed(changed(**{f"files/{'0' * 64}": b"import os"})))
    for name in ("run.py", "../manifest.json", ".hidden", "files/../../x", f"/files/{'0' * 64}", "a\x1b[2J"):
        assert "does not belong to a project" in refusal(packed(changed(**{name: b"{}"})))


def test_an_entry_that_is_there_twice_is_refused() -> None:
    files, buffer = entries(project_bytes(project())), io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr(first_image(), files[first_image()])
    assert "holds a file twice" in refusal(buffer.getvalue())


def test_an_archive_that_unpacks_to_very_much_is_refused() -> None:
    bomb = packed({"manifest.json": b" " * 4_000_000, "files/" + "0" * 64: bytes(50_000_000)}, zipfile.ZIP_DEFLATED)
    assert len(bomb) < 100_000
    assert "unpacks to more than 200 times its size" in refusal(bomb)


def test_a_project_that_somebody_packed_again_is_read() -> None:
    again = packed(entries(project_bytes(project())), zipfile.ZIP_DEFLATED)
    assert read_project(again).manifest == project().manifest


def test_an_image_that_cannot_be_decoded_is_said() -> None:
    torn = png(7)[:60]
    dataset = images()
    image = replace(dataset.tests[0].image, encoded=torn, sha256=sha256_of(torn))
    broken = replace(dataset.tests[0], image=image)
    given = replace(dataset, tests=(broken, *dataset.tests[1:]))
    data = project_bytes(project_of(given, Configuration.of("lake-cnn", None, LakeConfig()), MADE))
    assert "An image of the project cannot be used." in refusal(data)


def test_images_that_fill_the_memory_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lake_core.projects.project.MAX_DATASET_BYTES", 5000)
    assert "fill more than" in refusal(project_bytes(project()))


def test_a_file_that_is_not_there_or_too_large_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ProjectError, match="cannot be read"):
        read_project(tmp_path / "none.lake")
    write_project(project(), tmp_path / "a.lake")
    monkeypatch.setattr("lake_core.projects.project_file.MAX_TOTAL_BYTES", -2_000_000)
    with pytest.raises(ProjectError, match=r"a\.lake has .* GB, more than"):
        read_project(tmp_path / "a.lake")


def mutated(data: bytes, rng: np.random.Generator) -> bytes:
    """The bytes with some overwritten, cut out, doubled or cut off."""
    found = bytearray(data)
    for _ in range(int(rng.integers(1, 5))):
        at, n = int(rng.integers(len(found))), int(rng.integers(1, 40))
        match int(rng.integers(4)):
            case 0:
                found[at : at + n] = rng.integers(0, 256, n, dtype=np.uint8).tobytes()
            case 1:
                del found[at : at + n]
            case 2:
                found[at:at] = found[at : at + n]
            case _:
                del found[max(100, at) :]
    return bytes(found)


def test_no_damage_does_more_than_a_refusal() -> None:
    data, rng = project_bytes(project()), np.random.default_rng(16)
    untouched, n_refused = project().manifest, 0
    for _ in range(400):
        try:
            found: Project | None = read_project(mutated(data, rng), "x.lake")
        except ProjectError:
            n_refused += 1
            continue
        assert found is not None
        assert found.manifest == untouched  # damage where nothing of the project lies
        found.dataset()
    assert n_refused > 300


def test_no_change_of_a_manifest_does_more_than_a_refusal() -> None:
    files, rng = entries(project_bytes(project())), np.random.default_rng(17)
    odd: list[Any] = [
        None,
        True,
        -1,
        0,
        1e308,
        float("nan"),
        10**40,
        "",
        "x" * 3000,
        [],
        [[]],
        {},
        {"a": 1},
        "../x",
        "\x00",
    ]
    n_refused = 0
    for _ in range(400):
        document = json.loads(files["manifest.json"])
        here: Any = document
        while isinstance(here, dict | list) and here:
            key = list(here)[int(rng.integers(len(here)))] if isinstance(here, dict) else int(rng.integers(len(here)))
            if not isinstance(here[key], dict | list) or not here[key] or rng.random() < 0.2:
                here[key] = odd[int(rng.integers(len(odd)))]
                break
            here = here[key]
        try:
            read_project(packed(files | {"manifest.json": json.dumps(document).encode()}), "x.lake").dataset()
        except ProjectError:
            n_refused += 1
    assert 200 < n_refused <= 400
