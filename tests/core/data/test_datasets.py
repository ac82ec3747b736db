"""Folders, uploads and archives become normal and test images with the right labels, kinds and masks."""

import io
import zipfile
from pathlib import Path, PurePosixPath

import numpy as np
import pytest
from PIL import Image

from lake_core.data import archives, datasets, samples
from lake_core.data.archives import Archive
from lake_core.data.datasets import Dataset, read_example, read_folder, read_members
from lake_core.data.folders import categories, index_folder, list_images
from lake_core.data.labels import Role, arrange, label_of, role_of, safe_path
from lake_core.data.samples import assets_folder, load_sample, sample_names
from lake_core.errors import DatasetError, ImageError


def png(seed: int, size: tuple[int, int] = (32, 24)) -> bytes:
    """An image of its own for each seed."""
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def mask_png(n_rows: int, size: tuple[int, int] = (32, 24)) -> bytes:
    """A mask whose first rows are defect."""
    mask = np.zeros((size[1], size[0]), np.uint8)
    mask[:n_rows] = 255
    buffer = io.BytesIO()
    Image.fromarray(mask).save(buffer, "PNG")
    return buffer.getvalue()


def write(root: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return root


def zipped(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def names(dataset: Dataset) -> tuple[list[str], list[str]]:
    return [e.image.name for e in dataset.normals], [e.image.name for e in dataset.tests]


MVTEC = {
    "train/good/000.png": png(0),
    "train/good/001.png": png(1),
    "test/good/000.png": png(2),
    "test/crack/000.png": png(3),
    "test/crack/001.png": png(4),
    "test/hole/000.png": png(5),
    "ground_truth/crack/000_mask.png": mask_png(5),
    "ground_truth/crack/001_mask.png": mask_png(6),
    "ground_truth/hole/000.png": mask_png(7),
    "license.txt": b"CC BY",
}


@pytest.mark.parametrize(
    ("path", "role"),
    [
        ("train/good/000.png", Role("normal", "good")),
        ("bottle/train/good/000.png", Role("normal", "good")),
        ("train/000.png", Role("normal", "good")),
        ("normal/a.JPG", Role("normal", "good")),
        ("Good/a.tiff", Role("normal", "good")),
        ("set/OK/1/a.bmp", Role("normal", "good")),
        ("Defect-Free/a.png", Role("normal", "good")),
        ("candle/Data/Images/Normal/0.JPG", Role("normal", "good")),
        ("test/good/000.png", Role("test", "good")),
        ("test/ok/000.png", Role("test", "good")),
        ("test/broken_large/000.png", Role("test", "defective", "broken_large")),
        ("test/Faulty Imprint/0.png", Role("test", "defective", "Faulty Imprint")),
        ("test/bad/000.png", Role("test", "defective", "bad")),
        ("test/bad/crack/000.png", Role("test", "defective", "crack")),
        ("test_public/bad/0.png", Role("test", "defective", "bad")),
        ("validation/good/0.png", Role("test", "good")),
        ("test/000.png", Role("test")),
        ("good/test/000.png", Role("test")),
        ("defective/a.png", Role("test", "defective", "defective")),
        ("NG/scratch/a.png", Role("test", "defective", "scratch")),
        ("candle/Data/Images/Anomaly/0.JPG", Role("test", "defective", "Anomaly")),
        ("train/bad/a.png", Role("test", "defective", "bad")),
        ("holiday/a.png", Role("test")),
        ("a.png", Role("test")),
        ("good.png", Role("test")),
        ("train/scratch/a.png", Role("ignored")),
        ("ground_truth/crack/000_mask.png", Role("mask", kind="crack")),
        ("test_public/ground_truth/bad/000_mask.png", Role("mask", kind="bad")),
        ("masks/000.png", Role("mask")),
        ("train/good/.hidden.png", Role("ignored")),
        ("__MACOSX/train/good/000.png", Role("ignored")),
        (".cache/good/000.png", Role("ignored")),
        ("train/good/notes.txt", Role("ignored")),
        ("train/good/Thumbs.db", Role("ignored")),
    ],
)
def test_paths_tell_the_role(path: str, role: Role) -> None:
    assert role_of(PurePosixPath(path)) == role


@pytest.mark.parametrize(
    ("path", "label"),
    [
        ("good/a.png", ("good", None)),
        ("test/normal/a.png", ("good", None)),
        ("train/good/a.png", ("good", None)),
        ("anomaly/a.png", ("defective", "anomaly")),
        ("test/dent/a.png", ("defective", "dent")),
        ("test/dent/normal/a.png", ("defective", "dent")),
        ("defects/normal/a.png", ("good", None)),
        ("dent/a.png", (None, None)),
        ("test/a.png", (None, None)),
        ("bad.png", (None, None)),
    ],
)
def test_paths_tell_the_label(path: str, label: tuple[str | None, str | None]) -> None:
    assert label_of(PurePosixPath(path)) == label


@pytest.mark.parametrize(
    ("image", "mask"),
    [
        ("test/crack/000.png", "ground_truth/crack/000_mask.png"),
        ("test/crack/000.JPG", "ground_truth/crack/000.png"),
        ("test/Crack/A.png", "Ground_Truth/crack/a_MASK.png"),
        ("bottle/test/crack/000.png", "bottle/ground_truth/crack/000_mask.png"),
        ("test_public/bad/000_regular.png", "test_public/ground_truth/bad/000_regular_mask.png"),
        ("candle/Data/Images/Anomaly/000.JPG", "candle/Data/Masks/Anomaly/000.png"),
        ("test/bad/crack/0.png", "ground_truth/bad/crack/0.png"),
        ("defective/7.png", "masks/7.png"),
        ("defective/7.png", "masks/defective/7_mask.png"),
        ("test/7.png", "masks/7.png"),
        ("7.png", "7_mask.png"),
        ("test/dent/7.png", "test/dent/7_mask.png"),
    ],
)
def test_masks_find_their_images(image: str, mask: str) -> None:
    placed = {item.path.as_posix(): item for item in arrange([PurePosixPath(image), PurePosixPath(mask)])}
    assert placed[image].masks == (PurePosixPath(mask),)
    assert placed[mask].role.role == "mask"


@pytest.mark.parametrize(
    ("image", "mask"),
    [
        ("test/hole/000.png", "ground_truth/crack/000_mask.png"),
        ("cable/test/crack/000.png", "bottle/ground_truth/crack/000_mask.png"),
        ("test/crack/000.png", "ground_truth/crack/001/000.png"),
        ("test/good/000.png", "masks/000.png"),
        ("train/good/000.png", "masks/000.png"),
        ("other/gas_mask.png", "gas.png"),
    ],
)
def test_masks_of_others_are_left_alone(image: str, mask: str) -> None:
    placed = {item.path.as_posix(): item for item in arrange([PurePosixPath(image), PurePosixPath(mask)])}
    assert placed[image].masks == ()


def test_names_from_strangers_do_not_climb() -> None:
    assert safe_path("../../etc/x.png") == PurePosixPath("etc/x.png")
    assert safe_path("C:\\images\\good\\x.png") == PurePosixPath("images/good/x.png")
    assert safe_path("/x.png") == PurePosixPath("x.png")
    assert safe_path("..") == PurePosixPath("image")


def test_images_are_listed_in_natural_order(tmp_path: Path) -> None:
    files = ["10.png", "2.PNG", "1.jpg", "b/3.png", "a/20.webp", "a/3.tif", ".secret.png", ".git/x.png", "notes.txt"]
    write(tmp_path, dict.fromkeys(files, b""))
    listed = [path.relative_to(tmp_path).as_posix() for path in list_images(tmp_path)]
    assert listed == ["1.jpg", "2.PNG", "10.png", "a/3.tif", "a/20.webp", "b/3.png"]


def test_a_mvtec_category_is_read_with_labels_kinds_and_masks(tmp_path: Path) -> None:
    dataset = read_folder(write(tmp_path / "bottle", MVTEC))
    assert dataset.name == "bottle"
    assert dataset.problems == ()
    assert names(dataset)[0] == ["train/good/000.png", "train/good/001.png"]
    found = {e.image.name: (e.label, e.kind, None if e.mask is None else int(e.mask.sum())) for e in dataset.tests}
    assert found == {
        "test/crack/000.png": ("defective", "crack", 5 * 32),
        "test/crack/001.png": ("defective", "crack", 6 * 32),
        "test/good/000.png": ("good", None, None),
        "test/hole/000.png": ("defective", "hole", 7 * 32),
    }


def test_plain_folders_are_read(tmp_path: Path) -> None:
    files = {"normal/1.png": png(1), "test/1.png": png(2), "defective/1.png": png(3), "masks/1.png": mask_png(3)}
    dataset = read_folder(write(tmp_path, files), "plates")
    assert dataset.name == "plates"
    assert names(dataset) == (["normal/1.png"], ["defective/1.png", "test/1.png"])
    assert [e.label for e in dataset.tests] == ["defective", None]


def test_the_index_opens_nothing_and_agrees_with_reading(tmp_path: Path) -> None:
    root = write(tmp_path / "a", dict.fromkeys(MVTEC, b"not an image"))
    entries = index_folder(root)
    assert [(e.name, e.role) for e in entries[-2:]] == [
        ("train/good/000.png", "normal"),
        ("train/good/001.png", "normal"),
    ]
    assert entries[0].masks == (root / "ground_truth/crack/000_mask.png",)
    with pytest.raises(ImageError, match=r"test/crack/000.png is a text file"):
        read_example(entries[0])
    write(root, MVTEC)
    by_name = {e.image.name: e for e in read_folder(root).tests}
    for entry in (e for e in entries if e.role == "test"):
        lazily, eagerly = read_example(entry), by_name[entry.name]
        assert lazily.image == eagerly.image
        assert (lazily.label, lazily.kind) == (eagerly.label, eagerly.kind)
        assert (lazily.mask is None) == (eagerly.mask is None)
        if lazily.mask is not None and eagerly.mask is not None:
            assert np.array_equal(lazily.mask, eagerly.mask)


def test_several_categories_are_found_and_one_must_be_chosen(tmp_path: Path) -> None:
    for name in ("screw", "bottle", "pill10", "pill9"):
        write(tmp_path / name, MVTEC)
    write(tmp_path / "docs", {"a.png": png(0)})
    assert [f.name for f in categories(tmp_path)] == ["bottle", "pill9", "pill10", "screw"]
    assert categories(tmp_path / "screw") == [tmp_path / "screw"]
    with pytest.raises(DatasetError, match=r"holds 4 data sets \(bottle, pill9, pill10, screw\): choose one"):
        read_folder(tmp_path)


def test_broken_files_are_named_and_skipped(tmp_path: Path) -> None:
    files = MVTEC | {
        "train/good/001.png": b"",
        "test/crack/001.png": png(4)[:200],
        "ground_truth/hole/000.png": mask_png(3, (24, 32)),
        "test/good/photo.heic": b"x",
        "train/bent/1.png": png(9),
    }
    dataset = read_folder(write(tmp_path, files))
    assert names(dataset) == (
        ["train/good/000.png"],
        ["test/crack/000.png", "test/good/000.png", "test/hole/000.png"],
    )
    assert dataset.tests[2].mask is None
    problems = "\n".join(dataset.problems)
    assert len(dataset.problems) == 5
    assert "train/good/001.png is empty" in problems
    assert "test/crack/001.png is damaged" in problems
    assert "ground_truth/hole/000.png is 24 x 32 pixels, another aspect" in problems
    assert "test/good/photo.heic: '.heic' is not read as an image" in problems
    assert "1 image was left out, in folders of unknown meaning below 'train'" in problems


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({}, "holds no images"),
        ({"good/readme.txt": b""}, "holds no images"),
        (
            {"test/crack/1.png": png(1)},
            r"has no normal images: put normal ones into a folder 'train/good' or 'normal'",
        ),
        ({"good/1.png": b"text"}, r"None of the normal images .* good/1.png is a text file"),
    ],
)
def test_folders_without_normal_images_are_refused(tmp_path: Path, files: dict[str, bytes], words: str) -> None:
    with pytest.raises(DatasetError, match=words):
        read_folder(write(tmp_path, files))


def test_missing_folders_and_files_in_their_place_are_told(tmp_path: Path) -> None:
    for function in (read_folder, index_folder, categories, list_images):
        with pytest.raises(DatasetError, match="nowhere does not exist"):
            function(tmp_path / "nowhere")
        with pytest.raises(DatasetError, match=r"is a file, not a folder"):
            function(write(tmp_path, {"x.zip": b""}) / "x.zip")


def test_uploads_take_their_role_from_paths_or_from_the_caller() -> None:
    files = list(MVTEC.items())
    dataset = read_members(files)
    assert [len(side) for side in names(dataset)] == [2, 4]
    assert dataset.tests[0].mask is not None
    loose = [("2.png", png(2)), ("10.png", png(10)), ("dent/1.png", png(1)), ("bad/1.png", png(3))]
    as_test = read_members(loose, "test")
    assert names(as_test) == ([], ["2.png", "10.png", "bad/1.png", "dent/1.png"])
    assert [e.label for e in as_test.tests] == [None, None, "defective", None]
    as_normal = read_members(loose, "normal", name="mine")
    assert as_normal.name == "mine"
    assert len(as_normal.normals) == 4
    assert as_normal.problems == ("1 image was given as normal, but in folders named for defects: check them.",)
    everything = read_members(files, "test")
    assert len(everything.tests) == 6
    assert sum(e.label == "good" for e in everything.tests) == 3
    assert sum(e.mask is not None for e in everything.tests) == 3


def test_files_of_one_name_are_both_kept() -> None:
    dataset = read_members([("1.png", png(1)), ("1.png", png(2))], "normal")
    assert names(dataset)[0] == ["1 (2).png", "1.png"]


def test_archives_are_unpacked_in_memory() -> None:
    extra = {"__MACOSX/good/._1.png": b"x", "good/.DS_Store": b"x", "inner.zip": zipped({"a.png": png(0)})}
    dataset = read_members([("set.zip", zipped(MVTEC | extra)), ("good/more.png", png(20))])
    assert len(dataset.normals) == 3
    assert len(dataset.tests) == 4
    assert sorted(int(e.mask.sum()) for e in dataset.tests if e.mask is not None) == [160, 192, 224]
    assert dataset.problems == ("inner.zip is an archive inside set.zip and was left out: unpack it first.",)


def test_the_name_of_an_archive_counts_as_a_folder() -> None:
    dataset = read_members([("good.zip", zipped({"1.png": png(1)})), ("Test.ZIP", zipped({"dent/1.png": png(2)}))])
    assert names(dataset) == (["good/1.png"], ["Test/dent/1.png"])
    assert dataset.tests[0].kind == "dent"


def test_archives_that_climb_stay_inside() -> None:
    dataset = read_members([("a.zip", zipped({"../../good/1.png": png(1)}))])
    assert names(dataset)[0] == ["a/good/1.png"]


def test_encrypted_archives_are_told() -> None:
    data = bytearray(zipped({"good/1.png": png(1)}))
    data[data.index(b"PK\x01\x02") + 8] |= 1  # the flag in the central directory
    with pytest.raises(DatasetError, match=r"a.zip is encrypted: pack the images without a password"):
        Archive(bytes(data), "a.zip")


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("a.zip", b"hello", "a.zip is not a ZIP archive"),
        ("a.zip", b"", "a.zip is not a ZIP archive"),
        ("a.zip", zipped(MVTEC)[:-40], "a.zip is not a ZIP archive"),
        ("a.rar", b"Rar!", "archive in a format that is not read here"),
        ("b.tar.gz", b"\x1f\x8b", "b.tar.gz is an archive in a format"),
        ("a.png", zipped(MVTEC), "a.png is a ZIP archive"),
        ("notes.txt", b"hello", "No images were found in upload"),
    ],
)
def test_what_cannot_be_unpacked_is_told_and_the_rest_is_read(name: str, data: bytes, words: str) -> None:
    assert words in read_members([(name, data)]).problems[0]
    assert len(read_members([(name, data), ("good/1.png", png(1))]).normals) == 1


def test_damaged_members_are_told_and_the_rest_is_read() -> None:
    data = bytearray(zipped({"good/1.png": png(1), "good/2.png": png(2)}))
    at = data.index(b"good/2.png") + 60
    data[at : at + 40] = bytes(40)
    dataset = read_members([("a.zip", bytes(data))])
    assert names(dataset)[0] == ["a/good/1.png"]
    assert dataset.problems == ("good/2.png in a.zip is damaged: pack it again.",)


def test_archives_over_a_limit_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    data = zipped({f"{i}.png": bytes(1000) for i in range(9)})
    monkeypatch.setattr(archives, "MAX_ENTRIES", 8)
    with pytest.raises(DatasetError, match=r"a.zip holds 9 files, more than the 8 allowed: split it"):
        Archive(data, "a.zip")
    monkeypatch.setattr(archives, "MAX_ENTRIES", 9)
    monkeypatch.setattr(archives, "MAX_TOTAL_BYTES", 8999)
    with pytest.raises(DatasetError, match="unpacks to more than"):
        Archive(data, "a.zip")


def test_limits_count_what_comes_out_not_what_is_claimed(monkeypatch: pytest.MonkeyPatch) -> None:
    archive = Archive(zipped({"1.png": bytes(1000), "2.png": bytes(1000), "3.png": bytes(5000)}), "a.zip")
    monkeypatch.setattr(archives, "MAX_BYTES", 4000)
    with pytest.raises(DatasetError, match=r"3.png in a.zip is over the"):
        archive.read(PurePosixPath("3.png"))
    archive._bytes_left = 1500
    assert len(archive.read(PurePosixPath("1.png"))) == 1000
    with pytest.raises(DatasetError, match="unpacks to more than"):
        archive.read(PurePosixPath("2.png"))


def test_a_lying_header_does_not_unpack_a_bomb() -> None:
    data = bytearray(zipped({"good/1.png": bytes(50_000_000)}))
    assert len(data) < 100_000
    directory = data.index(b"PK\x01\x02")
    data[directory + 24 : directory + 28] = (10).to_bytes(4, "little")  # claims ten bytes
    dataset = read_members([("a.zip", bytes(data))])
    assert names(dataset) == ([], [])
    assert len(dataset.problems) == 1


def test_copies_are_kept_once_per_side_and_told() -> None:
    files = [("good/a.png", png(1)), ("good/b.png", png(1)), ("good/c.png", png(2)), ("test/d.png", png(2))]
    dataset = read_members([*files, ("test/e.png", png(3)), ("test/f.png", png(3))])
    assert names(dataset) == (["good/a.png", "good/c.png"], ["test/d.png", "test/e.png"])
    assert dataset.problems == (
        "good/a.png was given 2 times, byte for byte (also as good/b.png); it is kept once.",
        "test/e.png was given 2 times, byte for byte (also as test/f.png); it is kept once.",
        "test/d.png is also among the normal images (good/c.png): its score says nothing about new images.",
    )


def test_decoded_images_stay_within_memory_and_normal_ones_come_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets, "MAX_DATASET_BYTES", 2 * 32 * 24 * 3 + 1)
    dataset = read_members(
        [("a/test/1.png", png(1)), ("b/good/1.png", png(2)), ("c/good/1.png", png(3)), ("d.png", png(4))]
    )
    assert names(dataset) == (["b/good/1.png", "c/good/1.png"], ["a/test/1.png"])
    assert dataset.problems[0].startswith("1 image was left out, because the others fill")


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
