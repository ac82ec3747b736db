"""Images read ahead: in order, within bounds, by a thread as by processes, and what cannot be read is reported."""

import os
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lake_core.backbones.backbone import Backbone
from lake_core.data.folders import Entry, index_folder
from lake_core.data.images import read_image
from lake_core.errors import LakeError
from lake_core.evaluation import loading
from lake_core.evaluation.loading import Batch, load_ahead
from lake_core.evaluation.reading import Part, read_part
from tests.core.tiny import OpenTiny

N_TESTS = 11


@pytest.fixture(scope="module")
def backbone(open_tiny: OpenTiny) -> Backbone:
    return open_tiny("native-vit", resize="letterbox")


@pytest.fixture(scope="module")
def entries(tmp_path_factory: pytest.TempPathFactory) -> list[Entry]:
    """Good and defective test images of two sizes, with masks; one file is no image, one mask does not fit."""
    root = tmp_path_factory.mktemp("set")
    rng = np.random.default_rng(0)
    for i in range(N_TESTS):
        size = (60, 40) if i % 3 else (300, 500)
        kind = "good" if i % 2 else "spot"
        path = root / "test" / kind / f"{i:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (*size, 3), dtype=np.uint8)).save(path)
        if kind == "spot":
            mask = np.zeros(size if i != 4 else (20, 90), dtype=np.uint8)
            mask[3:7, 5:9] = 255
            truth = root / "ground_truth" / kind / f"{i:02}_mask.png"
            truth.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(mask).save(truth)
    (root / "test" / "good" / "03.png").write_text("no image")
    return [entry for entry in index_folder(root) if entry.role == "test"]


def test_processes_give_what_a_thread_gives(entries: list[Entry], backbone: Backbone) -> None:
    by_thread = list(load_ahead(entries, backbone, 4, with_masks=True, in_processes=False))
    by_processes = list(load_ahead(entries, backbone, 4, with_masks=True, in_processes=True))
    for one, other in zip(by_thread, by_processes, strict=True):
        assert torch.equal(one.canvases, other.canvases)
        assert (one.n_entries, one.problems) == (other.n_entries, other.problems)
        for image, same in zip(one.images, other.images, strict=True):
            assert (image.entry, image.sha256, image.placement) == (same.entry, same.sha256, same.placement)
            assert (image.mask is None) == (same.mask is None)
            if image.mask is not None and same.mask is not None:
                np.testing.assert_array_equal(image.mask.defects.regions, same.mask.defects.regions)
    assert sum(len(one.images) for one in by_thread) == 10
    assert any(p.mask is not None and p.mask.defects.n_regions > 0 for one in by_thread for p in one.images)


@pytest.mark.parametrize("in_processes", [False, True])
def test_batches_keep_the_order_and_name_what_cannot_be_read(
    in_processes: bool, entries: list[Entry], backbone: Backbone
) -> None:
    batches = list(load_ahead(entries, backbone, 4, with_masks=True, in_processes=in_processes))
    assert [batch.n_entries for batch in batches] == [4, 4, 3]
    names = [image.entry.name for batch in batches for image in batch.images]
    assert names == [entry.name for entry in entries if entry.name != "test/good/03.png"]
    problems = [problem for batch in batches for problem in batch.problems]
    assert len(problems) == 2
    assert any(problem.startswith("test/good/03.png") for problem in problems)
    assert any("04.png is compared without its mask" in problem for problem in problems)
    for image, canvas in ((p, c) for batch in batches for p, c in zip(batch.images, batch.canvases, strict=True)):
        expected = backbone.frame.canvas(read_image(image.entry.path))
        np.testing.assert_array_equal(canvas.numpy(), expected)


def test_reading_does_not_run_away_from_the_network(
    entries: list[Entry], backbone: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    n_read = 0

    def counted(part: list[Entry], *rest: object) -> Part:
        nonlocal n_read
        n_read += len(part)
        return real(part, *rest)  # type: ignore[arg-type]

    real = read_part
    monkeypatch.setattr(loading, "read_part", counted)
    batches = load_ahead(entries, backbone, 1, with_masks=False, in_processes=False)
    first: Batch = next(batches)
    assert first.n_entries == 1
    batches.close()
    assert n_read <= loading.N_AHEAD


def test_nothing_is_left_behind_by_processes(
    entries: list[Entry], backbone: Backbone, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    batches = load_ahead(entries, backbone, 4, with_masks=False, in_processes=True)
    next(batches)
    assert len(list(tmp_path.iterdir())) == 1
    batches.close()
    assert list(tmp_path.iterdir()) == []
    assert list(load_ahead([], backbone, 4, with_masks=False, in_processes=True)) == []


def test_a_missing_folder_of_masks_leaves_images_without(tmp_path: Path, backbone: Backbone) -> None:
    path = tmp_path / "a.png"
    Image.new("RGB", (64, 64)).save(path)
    (batch,) = load_ahead([Entry(path, "a.png", "test", "defective")], backbone, 4, with_masks=True)
    assert batch.images[0].mask is None
    assert batch.problems == ()


def killed(*_: object) -> Part:
    """In place of `read_part`: as the system ends a process that takes too much memory."""
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


def test_a_reader_that_is_killed_is_told_in_a_sentence(
    entries: list[Entry], backbone: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loading, "read_part", killed)
    with pytest.raises(LakeError, match="A process that reads images was killed"):
        list(load_ahead(entries, backbone, 4, with_masks=True, in_processes=True))
    monkeypatch.setattr(loading, "read_part", read_part)
    again = load_ahead(entries, backbone, 4, with_masks=True, in_processes=True)
    assert sum(len(batch.images) for batch in again) == N_TESTS - 1
