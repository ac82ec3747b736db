"""Archives are unpacked in memory: within limits, without climbing, and what is damaged is told."""

import struct
import time
from pathlib import PurePosixPath

import pytest

from lake_core.data import archives
from lake_core.data.archives import Archive
from lake_core.data.datasets import read_members
from lake_core.errors import DatasetError
from tests.core.data.folders import MVTEC, names, png, zipped


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


def test_an_archive_of_zeros_is_refused_before_it_is_unpacked() -> None:
    data = zipped({f"{i}.png": bytes(50_000_000) for i in range(3)})
    with pytest.raises(DatasetError, match=r"a.zip unpacks to more than 200 times its size, as no archive of images"):
        Archive(data, "a.zip")
    assert len(Archive(zipped({"blank.bmp": bytes(90_000_000)}), "a.zip").members) == 1


def test_a_list_of_very_many_files_is_refused_before_it_is_read() -> None:
    entry = b"PK\x01\x02" + bytes(42)
    n_entries = 2_000_000
    end = b"PK\x05\x06" + struct.pack("<HHHHIIH", 0, 0, 65535, 65535, n_entries * len(entry), 0, 0)
    started = time.process_time()
    with pytest.raises(DatasetError, match=r"a.zip holds 2000000 files, more than the 2000 allowed: split it"):
        Archive(entry * n_entries + end, "a.zip")
    assert time.process_time() - started < 1


def test_limits_count_what_comes_out_not_what_is_claimed(monkeypatch: pytest.MonkeyPatch) -> None:
    archive = Archive(zipped({"1.png": bytes(1000), "2.png": bytes(1000), "3.png": bytes(5000)}), "a.zip")
    monkeypatch.setattr(archives, "MAX_BYTES", 4000)
    with pytest.raises(DatasetError, match=r"3.png in a.zip is over the"):
        archive.read(PurePosixPath("3.png"))
    archive._bytes_left = 1500
    assert len(archive.read(PurePosixPath("1.png"))) == 1000
    with pytest.raises(DatasetError, match="unpacks to more than"):
        archive.read(PurePosixPath("2.png"))


def test_a_member_for_which_there_is_no_memory_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> bytes:
        raise MemoryError

    archive = Archive(zipped({"1.png": bytes(1000)}), "a.zip")
    monkeypatch.setattr("zipfile.ZipExtFile.read", full)
    with pytest.raises(DatasetError, match=r"^1\.png in a\.zip needs more memory than there is: reduce it\.$"):
        archive.read(PurePosixPath("1.png"))


def test_a_lying_header_does_not_unpack_a_bomb() -> None:
    data = bytearray(zipped({"good/1.png": bytes(50_000_000)}))
    assert len(data) < 100_000
    directory = data.index(b"PK\x01\x02")
    data[directory + 24 : directory + 28] = (10).to_bytes(4, "little")  # claims ten bytes
    dataset = read_members([("a.zip", bytes(data))])
    assert names(dataset) == ([], [])
    assert len(dataset.problems) == 1
