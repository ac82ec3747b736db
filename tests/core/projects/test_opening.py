"""Project files opened in a process with limits: as they are opened here, and what breaks that process harms nobody."""

import json
import os
import signal
import time
import zipfile
from collections.abc import Callable

import numpy as np
import pytest

from lake_core.data.datasets import Example
from lake_core.data.limited import LIGHT_BYTES, LimitedProcess, Limits, limited
from lake_core.errors import ProjectError
from lake_core.projects.opening import open_limited
from lake_core.projects.project import OpenedProject, sha256_of
from lake_core.projects.project_file import project_bytes, read_light_project, read_project
from tests.core.data.files import raw_png
from tests.core.memory import peak_growth
from tests.core.projects.cases import entries, packed, project, with_manifest

ROOM = 200_000_000
SMALL = Limits(n_bytes=400_000_000)


def opened(data: bytes, limits: Limits = SMALL) -> OpenedProject:
    with limited(limits) as process:
        return open_limited(data, "x.lake", process, ROOM)


def with_images(*images: bytes) -> bytes:
    """A project file with other test images, called by their true sha256."""
    files = entries(project_bytes(project()))
    document = json.loads(files["manifest.json"])
    kept = {"manifest.json", *(f"files/{one['sha256']}" for one in document["normals"])}
    document["tests"] = [{"name": f"{n}.png", "sha256": sha256_of(image)} for n, image in enumerate(images)]
    document["scores"] = None
    files = {name: content for name, content in files.items() if name in kept}
    files |= {f"files/{sha256_of(image)}": image for image in images}
    return packed(files | {"manifest.json": json.dumps(document).encode()}, zipfile.ZIP_DEFLATED)


def with_masks(mask: bytes, n_images: int) -> bytes:
    """A project file with one mask for several small images."""
    files = entries(with_images(*(grey(20, 20, shade) for shade in range(n_images))))
    document = json.loads(files["manifest.json"])
    for image in document["tests"]:
        image |= {"label": "defective", "mask": sha256_of(mask)}
    return packed(files | {"manifest.json": json.dumps(document).encode(), f"files/{sha256_of(mask)}": mask})


def grey(width: int, height: int, shade: int = 0) -> bytes:
    """A PNG of few bytes, whatever its size."""
    return raw_png(width, height, 8, 0, (b"\0" + bytes([shade]) * width) * height)


def test_a_project_is_the_one_that_this_process_would_open() -> None:
    data, steps = project_bytes(project()), []
    with limited() as process:
        found = open_limited(data, "x.lake", process, ROOM, lambda *step: steps.append(step))
    own = read_project(data).opened()
    assert found.manifest == own.manifest
    assert found.dataset.name == own.dataset.name
    for side in ("normals", "tests"):
        for one, other in zip(getattr(found.dataset, side), getattr(own.dataset, side), strict=True):
            check_same(one, other)
    assert steps == [(n, 5) for n in range(1, 6)]


def check_same(one: Example, other: Example) -> None:
    assert one.image == other.image
    assert one.image.encoded == other.image.encoded
    assert np.array_equal(one.image.rgb, other.image.rgb)
    assert not one.image.rgb.flags.writeable
    assert (one.label, one.kind) == (other.label, other.kind)
    masks = [mask.tolist() for mask in (one.mask, other.mask) if mask is not None]
    assert masks[:1] == masks[1:]


HOSTILE: dict[str, tuple[Callable[[], bytes], str]] = {
    "a manifest of a million faults": (lambda: with_manifest(lambda m: m.update(normals=[1] * 1_600_000)), "x.lake "),
    "a bomb in place of an image": (lambda: with_images(bytes(150_000_000)), "unpacks to more than 200 times"),
    "a bomb within the ratio": (lambda: with_images(bytes(60_000_000), os.urandom(400_000)), "cannot be used"),
    "images that fill the memory": (
        lambda: with_images(*(grey(2000, 2000, shade) for shade in range(20))),
        "The images of plates fill more than 0.2 GB",
    ),
    "an image of 100 megapixels": (lambda: with_images(grey(10_000, 10_000)), "10000 x 10000 pixels, more than"),
    "thirty thousand entries": (lambda: packed({f"files/{n:064}": b"" for n in range(30_000)}), "holds 30000 files"),
}


@pytest.mark.parametrize(("make", "said"), HOSTILE.values(), ids=HOSTILE)
def test_what_is_hostile_is_said_in_a_sentence_and_costs_this_process_next_to_nothing(
    make: Callable[[], bytes], said: str
) -> None:
    data, started = make(), time.process_time()
    with peak_growth() as grown, pytest.raises(ProjectError) as raised:
        opened(data)
    assert time.process_time() - started < 1.0
    assert grown.n_bytes < 50_000_000 + 3 * len(data)
    assert said in str(raised.value)
    assert str(raised.value).isprintable()


def test_a_process_that_dies_over_an_image_is_said() -> None:
    def kill(done: int, _: int) -> None:
        if done == 2:
            assert process._process is not None
            (number,) = process._process._processes
            os.kill(number, signal.SIGKILL)

    said = r"^plates/test/crack/0\.png in x\.lake ended the program that reads it: save the project without it\.$"
    with limited() as process, pytest.raises(ProjectError, match=said):
        open_limited(project_bytes(project()), "x.lake", process, ROOM, kill)


def test_what_takes_too_long_is_said() -> None:
    with pytest.raises(ProjectError, match=r"^x\.lake takes more than 0\.001 s to read: "):
        opened(project_bytes(project()), Limits(step_s=0.001))
    with pytest.raises(ProjectError, match=r"^x\.lake takes more than -0\.02 minutes to read: "):
        opened(project_bytes(project()), Limits(all_s=-1.2))


def test_an_image_that_needs_more_memory_than_the_process_may_take_is_said() -> None:
    data = with_images(grey(7000, 7000))
    with pytest.raises(ProjectError, match=r"0\.png (needs more memory|in x\.lake (needs more|ended))"):
        opened(data, Limits(n_bytes=60_000_000))


def test_a_project_that_nobody_wants_any_more_is_not_read_on() -> None:
    class Unwanted(Exception):
        pass

    def still_wanted() -> None:
        raise Unwanted

    process = LimitedProcess(Limits(), still_wanted)
    with pytest.raises(Unwanted):
        open_limited(project_bytes(project()), "x.lake", process, ROOM)
    process.end()


def test_light_projects_are_told_by_their_size_and_their_images() -> None:
    found = read_light_project(project_bytes(project()), "x.lake")
    assert found is not None
    assert found.manifest == project().manifest
    files = entries(project_bytes(project()))
    heavy = [
        packed(files, zipfile.ZIP_DEFLATED),
        with_manifest(lambda m: m.update(name="x" * 110_000)),
        project_bytes(project()) + bytes(LIGHT_BYTES),
        packed(entries(with_images(grey(3000, 2100)))),
        packed(entries(with_images(*(grey(20, 20, shade) for shade in range(50))))),
    ]
    heavy.append(with_masks(grey(1500, 1500), 3))
    assert [read_light_project(data, "x.lake") for data in heavy] == [None] * 6
    assert read_light_project(with_masks(grey(1500, 1500), 2), "x.lake") is not None
    with pytest.raises(ProjectError, match="not a ZIP archive"):
        read_light_project(b"PK", "x.lake")
