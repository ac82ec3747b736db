"""The folder layouts of published data sets, built on disk small, are understood; `lake datasets inspect` says how."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from lake_core.cli.app import app
from lake_core.data.datasets import read_example, read_folder
from lake_core.data.folders import index_folder
from lake_core.data.inspection import Category, inspect, lines
from lake_core.errors import DatasetError
from tests.core.data.folders import write

SIDE = 32


def png(seed: int) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def mask(rows: slice, value: int = 255) -> bytes:
    marked = np.zeros((SIDE, SIDE), np.uint8)
    marked[rows] = value
    buffer = io.BytesIO()
    Image.fromarray(marked).save(buffer, "PNG")
    return buffer.getvalue()


def only(root: Path) -> Category:
    found, _ = inspect(root)
    assert len(found) == 1
    return found[0]


MVTEC = {
    "train/good/000.png": png(0),
    "train/good/001.png": png(1),
    "test/good/000.png": png(2),
    "test/crack/000.png": png(3),
    "ground_truth/crack/000_mask.png": mask(slice(0, 4)),
}


def test_mvtec_ad_and_mpdd(tmp_path: Path) -> None:
    files = MVTEC | {"license.txt": b"CC", "readme.txt": b"", "test/hole/000.png": png(4), "train/odd/0.png": png(8)}
    found = only(write(tmp_path / "bottle", files))
    assert found.layout.startswith("MVTec AD")
    assert (found.n_normal, found.n_test_good, found.n_test_defective, found.n_unlabelled) == (2, 1, 2, 0)
    assert found.kinds == {"crack": 1, "hole": 1}
    assert (found.n_masked, found.missing_masks) == (1, ["test/hole/000.png"])
    assert found.sizes == {"32 x 32": 5}
    assert found.ignored == ["license.txt", "readme.txt", "train/odd/0.png"]
    assert found.problems == found.leaks == found.duplicates == []


@pytest.mark.parametrize("above", ["", "bottle/"])
@pytest.mark.parametrize("normals", ["train/good", "normal"])
def test_what_lies_beside_the_parts_takes_no_part(tmp_path: Path, above: str, normals: str) -> None:
    beside = ["backup/good/0.png", "old/test/crack/0.png", "docs/figure.png", "preview.png", "extra/train/good/0.png"]
    files = {path.replace("train/good", normals): data for path, data in MVTEC.items()}
    files |= {path: png(20 + i) for i, path in enumerate(beside)}
    root = write(tmp_path / "set", {f"{above}{path}": data for path, data in files.items()})
    found = {entry.name: entry.role for entry in index_folder(root)}
    assert set(found) == {f"{above}{path}" for path in files if path not in beside and "ground_truth" not in path}
    assert sum(role == "normal" for role in found.values()) == 2


def test_linked_folders_and_empty_masks_are_told(tmp_path: Path) -> None:
    root = write(tmp_path / "bottle", MVTEC | {"ground_truth/crack/000_mask.png": mask(slice(0, 0))})
    elsewhere = write(tmp_path / "elsewhere", {"0.png": png(30)})
    (root / "test" / "dent").symlink_to(elsewhere)
    found = only(root)
    assert found.kinds == {"crack": 1}
    assert found.problems == [
        "ground_truth/crack/000_mask.png marks nothing: all pixels of test/crack/000.png count as good.",
        "test/dent is a link to a folder, which is not entered: copy the folder there.",
    ]


def test_mvtec_loco_unites_the_masks_of_a_image(tmp_path: Path) -> None:
    root = write(
        tmp_path / "juice_bottle",
        {
            "train/good/000.png": png(0),
            "validation/good/000.png": png(1),
            "test/good/000.png": png(2),
            "test/logical_anomalies/000.png": png(3),
            "test/structural_anomalies/000.png": png(4),
            "ground_truth/logical_anomalies/000/000.png": mask(slice(0, 4), 248),
            "ground_truth/logical_anomalies/000/001.png": mask(slice(2, 9), 3),
            "ground_truth/structural_anomalies/000/000.png": mask(slice(0, 1)),
            "defects_config.json": b"[]",
        },
    )
    found = only(root)
    assert found.layout.startswith("MVTec LOCO")
    assert (found.n_normal, found.n_test_good, found.n_test_defective, found.n_masked) == (1, 1, 2, 2)
    assert found.ignored == ["defects_config.json", "validation/good/000.png"]
    areas = {entry.kind: entry for entry in index_folder(root) if entry.label == "defective"}
    for kind, n_rows in (("logical_anomalies", 9), ("structural_anomalies", 1)):
        united = read_example(areas[kind]).mask
        assert united is not None
        assert united.sum() == n_rows * SIDE
    dataset = read_folder(root)
    assert sum(example.mask is not None for example in dataset.tests) == 2
    assert dataset.problems == ("1 image was left out: for validation, or not in the data set's table.",)


def test_btad(tmp_path: Path) -> None:
    files = {
        "train/ok/0000.png": png(0),
        "test/ok/0001.png": png(1),
        "test/ko/0000.png": png(2),
        "test/ko/0001.png": png(3),
        "ground_truth/ko/0000.png": mask(slice(0, 3)),
        "ground_truth/ko/0001.png": mask(slice(0, 5)),
    }
    found = only(write(tmp_path / "01", files))
    assert found.layout.startswith("BTAD")
    assert (found.n_normal, found.n_test_good, found.n_test_defective, found.n_masked) == (1, 1, 2, 2)


def visa(root: Path) -> Path:
    files = {f"candle/Data/Images/Normal/{i:04}.JPG": png(i) for i in range(4)}
    files |= {f"candle/Data/Images/Anomaly/{i:03}.JPG": png(10 + i) for i in range(2)}
    files["candle/Data/Masks/Anomaly/000.png"] = mask(slice(0, 6), 2)
    files["candle/image_anno.csv"] = b"image,label,mask\n"
    return write(root, files)


def test_visa_by_its_table(tmp_path: Path) -> None:
    rows = ["object,split,label,image,mask"]
    rows += [f"candle,train,normal,candle/Data/Images/Normal/{i:04}.JPG," for i in (1, 3)]
    rows += ["candle,test,normal,candle/Data/Images/Normal/0000.JPG,"]
    rows += ["candle,test,anomaly,candle/Data/Images/Anomaly/000.JPG,candle/Data/Masks/Anomaly/000.png"]
    rows += ["capsules,test,normal,capsules/Data/Images/Normal/0000.JPG,"]
    root = visa(tmp_path / "VisA")
    write(root, {"split_csv/1cls.csv": "\n".join(rows).encode()})
    found = only(root)
    assert found.name == "candle"
    assert found.layout.startswith("VisA, split by")
    assert (found.n_normal, found.n_test_good, found.n_test_defective, found.n_masked) == (2, 1, 1, 1)
    normals = [entry.name for entry in index_folder(root / "candle") if entry.role == "normal"]
    assert normals == ["Data/Images/Normal/0001.JPG", "Data/Images/Normal/0003.JPG"]
    assert "Data/Images/Normal/0002.JPG" in found.ignored
    assert inspect(root)[1] == []
    stray = rows[4].replace("candle/Data/Masks", "Data/Masks")
    write(root, {"split_csv/1cls.csv": "\n".join([*rows[:4], stray]).encode()})
    assert only(root).missing_masks == ["Data/Images/Anomaly/000.JPG"]
    write(root, {"split_csv/1cls.csv": rows[0].encode() + b"\ncandle,train,normal,candle/Data/Images/Normal/9.JPG,"})
    with pytest.raises(DatasetError, match=r"names candle/Data/Images/Normal/9.JPG, which is not there"):
        index_folder(root / "candle")


def test_visa_without_its_table_says_that_nothing_good_is_left_to_test(tmp_path: Path) -> None:
    found = only(visa(tmp_path / "VisA"))
    assert found.layout.startswith("VisA without its split")
    assert (found.n_normal, found.n_test_good, found.n_test_defective, found.n_masked) == (4, 0, 2, 1)
    assert found.missing_masks == ["Data/Images/Anomaly/001.JPG"]


PLAIN = {f"normal/{i}.png": png(i) for i in range(2)} | {f"test/{name}.png": png(ord(name)) for name in "abcd"}


def test_plain_folders_with_a_table_of_labels(tmp_path: Path) -> None:
    table = "\ufeffPath;Label\ntest/a.png;good\nb.png;scratch\nc.png;1\n".encode()
    root = write(tmp_path / "plates", PLAIN | {"labels.csv": table, "masks/b.png": mask(slice(0, 3))})
    found = only(root)
    assert found.layout == "plain folders with labels.csv"
    assert (found.n_normal, found.n_test_good, found.n_test_defective, found.n_unlabelled) == (2, 1, 2, 1)
    assert found.kinds == {"defective": 1, "scratch": 1}
    assert found.n_masked == 1
    assert {e.image.name: e.label for e in read_folder(root).tests} == {
        "test/a.png": "good",
        "test/b.png": "defective",
        "test/c.png": "defective",
        "test/d.png": None,
    }


def test_masks_lie_in_folders_of_the_kind_that_the_table_gives(tmp_path: Path) -> None:
    files = {"labels.csv": b"path,label\na.png,scratch\nb.png,good\n"}
    files |= {f"ground_truth/{kind}/a_mask.png": mask(slice(0, 3)) for kind in ("dent", "scratch")}
    (own,) = [entry for entry in index_folder(write(tmp_path / "plates", PLAIN | files)) if entry.kind == "scratch"]
    assert [path.parent.name for path in own.masks] == ["scratch"]


def test_a_bare_name_in_the_table_means_the_test_image(tmp_path: Path) -> None:
    table = b"filename;label\n0.png;scratch\n1.png;good\n"
    files = {"normal/0.png": png(0), "normal/1.png": png(1), "test/0.png": png(2), "labels.csv": table}
    labels = {entry.name: entry.label for entry in index_folder(write(tmp_path / "plates", files))}
    assert labels == {"normal/0.png": "good", "normal/1.png": "good", "test/0.png": "defective"}


@pytest.mark.parametrize(
    ("table", "words"),
    [
        (b"path,label\ntest/x.png,good\n", r"names test/x.png, which is not there"),
        (b"path,label\n", "has no rows"),
        (b"path,label\nnormal/0.png,scratch\n", "calls normal/0.png 'scratch', but it lies among the normal images"),
        (b"a,b\n1,2\n", "has no column path: its columns are a, b"),
        (b"path,label\n\xff\xfe,good\n", "cannot be read as a table"),
    ],
)
def test_a_table_that_does_not_fit_is_refused(tmp_path: Path, table: bytes, words: str) -> None:
    root = write(tmp_path / "plates", PLAIN | {"labels.csv": table})
    with pytest.raises(DatasetError, match=words):
        index_folder(root)


def test_copies_leaks_broken_files_and_what_lies_beside_are_told(tmp_path: Path) -> None:
    files = MVTEC | {
        "train/good/copy.png": png(0),
        "test/good/leak.png": png(1),
        "test/crack/torn.png": png(9)[:100],
        "test/crack/000.txt": b"note",
    }
    write(tmp_path / "bottle", files)
    write(tmp_path, {"notes/readme.md": b"", "table.csv": b""})
    (category,), beside = inspect(tmp_path)
    assert category.duplicates == [
        ["test/good/leak.png", "train/good/001.png"],
        ["train/good/000.png", "train/good/copy.png"],
    ]
    assert category.leaks == ["test/good/leak.png"]
    assert len(category.problems) == 1
    assert "torn.png is damaged" in category.problems[0]
    assert beside == ["notes/", "table.csv"]
    told = "\n".join(lines([category], beside))
    assert "WARNING: test images that are also among the normal ones: test/good/leak.png" in told
    assert "Beside the data sets, ignored: notes/, table.csv" in told


def test_a_data_set_that_cannot_be_used_does_not_hide_the_others(tmp_path: Path) -> None:
    write(tmp_path / "bottle", MVTEC)
    (tmp_path / "empty/train/good").mkdir(parents=True)
    write(tmp_path / "good_only", {name: data for name, data in MVTEC.items() if "crack" not in name})
    found, beside = inspect(tmp_path)
    told = lines(found, beside)
    assert [category.name for category in found] == ["bottle", "empty", "good_only"]
    assert told[told.index("empty: cannot be used") + 1].startswith("  WARNING: ")
    assert "empty holds no images" in found[1].problems[0]
    needs_both = [line for line in told if "need labelled test images of both kinds" in line]
    assert len(needs_both) == 1
    assert told.index(needs_both[0]) > told.index(next(line for line in told if line.startswith("good_only")))


def test_the_command_prints_lines_or_json(tmp_path: Path) -> None:
    write(tmp_path / "bottle", MVTEC)
    told = CliRunner().invoke(app, ["datasets", "inspect", str(tmp_path)])
    assert told.exit_code == 0
    assert "bottle: MVTec AD" in told.stdout
    document = json.loads(CliRunner().invoke(app, ["datasets", "inspect", str(tmp_path), "--json"]).stdout)
    assert document["categories"][0]["n_normal"] == 2
    samples = CliRunner().invoke(app, ["datasets", "inspect", "samples"])
    assert "metal: MVTec AD" in samples.stdout
    (tmp_path / "empty").mkdir()
    empty = CliRunner().invoke(app, ["datasets", "inspect", str(tmp_path / "empty")])
    assert empty.exit_code == 2
    assert "holds no data set" in empty.stderr
