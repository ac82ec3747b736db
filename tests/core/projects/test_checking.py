"""Scores computed again: they agree on the same model, and what differs is named where they do not."""

import json
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from lake_core.backbones.backbone import Backbone
from lake_core.backbones.opening import open_backbone
from lake_core.config import LakeConfig
from lake_core.data.datasets import Dataset, Example
from lake_core.data.images import read_image
from lake_core.detector.lake import Lake
from lake_core.errors import ProjectError
from lake_core.projects.checking import Difference, causes, check, made_with, opens_by_itself, scores_of
from lake_core.projects.manifest import Configuration
from lake_core.projects.project import Project, project_of
from lake_core.projects.project_file import project_bytes, read_project
from tests.core.images import spotted
from tests.core.projects.cases import MADE, images
from tests.core.tiny import FAMILIES, small_nets, write

NAME = "native-vit"


def encoded(seed: int, defect: bool = False) -> Example:
    """A spotted image that came from a file."""
    buffer = BytesIO()
    Image.fromarray(spotted(seed, defect).rgb).save(buffer, "PNG")
    return Example(read_image(buffer.getvalue(), f"{seed}.png", keep_encoded=True), "defective" if defect else "good")


def saved(backbone: Backbone) -> Project:
    """What `lake project save` would write of six images."""
    dataset = Dataset("spots", tuple(map(encoded, range(3))), (encoded(10), encoded(11), encoded(20, True)))
    normals, tests = ([example.image for example in side] for side in (dataset.normals, dataset.tests))
    lake = Lake(backbone, LakeConfig(top_k=20)).fit(normals)
    configuration = Configuration.of("lake-cnn", backbone.input_size[0], lake.config)
    return project_of(dataset, configuration, made_with(backbone.spec, "cpu"), scores_of(lake, lake.explain_all(tests)))


def test_the_same_model_gives_the_same_scores(small_cnn: Backbone) -> None:
    project = read_project(project_bytes(saved(small_cnn)))
    seen: list[tuple[int, int]] = []
    found = check(project, small_cnn, lambda n_done, n_all: seen.append((n_done, n_all)))
    assert found.agrees
    assert found.causes == ()
    assert found.n_numbers == 1 + 3 + 3 * 3
    assert found.sentences() == ["All 13 numbers agree to 0.0001."]
    assert seen[-1][1] == 6


def test_a_changed_score_is_found_and_named(small_cnn: Backbone) -> None:
    project = saved(small_cnn)
    document = json.loads(project.manifest.model_dump_json())
    sha256 = project.manifest.tests[1].sha256
    then = document["scores"]["tests"][sha256]["score"]
    document["scores"]["tests"][sha256]["score"] = then * 1.0003
    manifest = type(project.manifest).model_validate_json(json.dumps(document))
    found = check(replace(project, manifest=manifest), small_cnn)
    assert not found.agrees
    (one,) = found.differences
    assert one.what == "the score of 11.png"
    assert one.relative == pytest.approx(0.0003, rel=0.02)
    assert found.sentences()[1] == "Weights, versions and device are the same."


def test_another_backbone_is_named(small_cnn: Backbone) -> None:
    project = saved(small_cnn)
    found = check(project, open_backbone("lake-vit"))
    assert not found.agrees
    said = " ".join(found.sentences())
    assert "The scores cannot be computed here: lake-vit has no layer 15" in said
    assert "The backbone differs: lake-cnn in the project, lake-vit here." in said
    weights = project.manifest.made_with.weights["open_clip_model.safetensors"]
    assert f"open_clip_model.safetensors has sha256 {weights[:12]} … in the project" in said


def test_changed_weights_are_named(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    write(NAME, folder)
    spec = f"local-dir:{folder}"
    with small_nets(FAMILIES[NAME]):
        backbone = open_backbone(spec)
        dataset = Dataset("spots", tuple(map(encoded, range(3))), (encoded(20, True),))
        lake = Lake(backbone).fit([example.image for example in dataset.normals])
        scores = scores_of(lake, lake.explain_all([example.image for example in dataset.tests]))
        configuration = Configuration.of("local-dir:model", None, lake.config)
        project = project_of(dataset, configuration, made_with(spec, "cpu"), scores)
        assert str(tmp_path).encode() not in project_bytes(project)
        assert check(project, open_backbone(spec)).agrees

        (weights,) = folder.glob("*.safetensors")
        generator = torch.Generator().manual_seed(0)
        changed = {
            name: one + 0.1 * one.std(correction=0) * torch.randn(one.shape, generator=generator)
            if one.is_floating_point() and one.ndim > 1
            else one
            for name, one in load_file(weights).items()
        }
        save_file(changed, weights)
        found = check(project, open_backbone(spec))
    assert not found.agrees
    assert any(cause.startswith(f"The model's files differ: {weights.name} has sha256") for cause in found.causes)


def test_versions_device_and_method_are_named_where_they_differ() -> None:
    other = MADE.model_copy(update={"versions": {"torch": "3.0"}, "method": 3, "device": "NVIDIA H100"})
    assert list(causes(MADE, MADE)) == []
    assert list(causes(MADE, other)) == [
        "The version of the method differs: 2 in the project, 3 here.",
        "The version of torch differs: 2.8.0 in the project, 3.0 here.",
        "The device differs: cpu in the project, NVIDIA H100 here.",
    ]


def test_parts_are_compared_on_the_scale_of_their_score() -> None:
    assert Difference("the text part", 1e-6, 2e-6, 1.5).relative < 1e-6
    assert Difference("the score of a copy", 0.0, 1e-8, 0.0).relative < 1e-4
    assert Difference("the score", 1.0, 1.01, 1.0).relative == pytest.approx(0.01)


def test_a_project_without_scores_cannot_be_compared(small_cnn: Backbone) -> None:
    project = project_of(images(), Configuration.of("lake-cnn", 128, LakeConfig()), MADE)
    with pytest.raises(ProjectError, match="holds no scores"):
        check(project, small_cnn)


def test_only_models_that_anybody_may_choose_are_opened_because_a_project_names_them() -> None:
    assert all(map(opens_by_itself, ("lake-cnn", "lake-vit", "ViT-B-16:openai")))
    assert not any(map(opens_by_itself, ("hf-hub:a/b", "local-dir:model", "checkpoint:a.pt@b.json")))
