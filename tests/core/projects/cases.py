"""A small project of drawn images, made without a network, and ZIP files made by hand."""

import io
import json
import zipfile
from typing import Any

from lake_core.config import LakeConfig
from lake_core.data.datasets import Dataset, read_members
from lake_core.projects.manifest import Chosen, Configuration, ImageScores, MadeWith, PinnedNeuron, SavedScores
from lake_core.projects.project import Project, State, project_of
from lake_core.projects.project_file import project_bytes
from tests.core.data.folders import mask_png, png

MADE = MadeWith(versions={"torch": "2.8.0"}, method=2, device="cpu", weights={"model.safetensors": "a" * 64})
CONFIG = LakeConfig(layers=(12, 15), top_k=(30, 50), object_name="metal plate", fusion_weight=0.25)


def images(first: int = 0) -> Dataset:
    """Two normal images, and a good, a defective and an unlabelled one, of which the defective one has a mask."""
    files = {
        "plates/train/good/0.png": png(first),
        "plates/train/good/1.png": png(first + 1),
        "plates/test/good/0.png": png(first + 2),
        "plates/test/crack/0.png": png(first + 3),
        "plates/test/new.png": png(first + 4),
        "plates/ground_truth/crack/0_mask.png": mask_png(5),
    }
    return read_members(files.items(), name="plates")


def project(first: int = 0, state: State | None = None) -> Project:
    """A project with all that one may hold."""
    dataset = images(first)
    normals, tests = ([example.image.sha256 for example in side] for side in (dataset.normals, dataset.tests))
    if state is None:
        pins = (
            PinnedNeuron(spec="lake-cnn", image_size=384, layer=15, site="mlp_hidden", neuron=7, note="*Edges*"),
            PinnedNeuron(spec="lake-cnn", image_size=None, layer=12, site="mlp_hidden", neuron=0, in_list="Cracks"),
        )
        chosen = Chosen(image=tests[1], layer=15, neuron=7, patch=100)
        compared = (Configuration.of("ViT-B-16:openai", 224, LakeConfig()),)
        state = State(sample="metal", own_threshold=1.25, pins=pins, compared=compared, chosen=chosen)
    scores = SavedScores(
        threshold=1.1,
        normals={sha256: 0.9 + i / 7 for i, sha256 in enumerate(normals)},
        tests={sha256: ImageScores(score=1 / 3 + i, visual=0.1 + i, text=0.0) for i, sha256 in enumerate(tests)},
    )
    return project_of(dataset, Configuration.of("lake-cnn", 384, CONFIG), MADE, scores, state)


def entries(data: bytes) -> dict[str, bytes]:
    """Name -> bytes of a ZIP file."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def packed(files: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def with_manifest(changed: Any) -> bytes:
    """The small project's file with another manifest: what a function makes of its parsed JSON."""
    files = entries(project_bytes(project()))
    document = json.loads(files["manifest.json"])
    changed(document)
    return packed(files | {"manifest.json": json.dumps(document).encode()})
