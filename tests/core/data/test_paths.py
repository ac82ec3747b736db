"""Paths alone tell roles, labels and which mask is whose."""

from pathlib import PurePosixPath

import pytest

from lake_core.data.labels import Role, arrange, label_of, role_of, safe_path


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
