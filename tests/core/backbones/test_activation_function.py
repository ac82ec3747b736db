"""A tag's network has the activation function that it was trained with, whatever its name says."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import open_clip
import pytest
from open_clip.transformer import QuickGELU
from torch import nn

from lake_core.backbones import loading
from lake_core.backbones.backbone import Backbone
from lake_core.backbones.opening import open_backbone
from tests.core.backbones.specs import CLIP_STATISTICS
from tests.core.tiny import write

QUICK_TAGS = [
    ("ViT-B-32", "openai"), ("ViT-B-32", "laion400m_e31"), ("ViT-B-32", "laion400m_e32"),
    ("ViT-B-32", "metaclip_400m"), ("ViT-B-32", "metaclip_fullcc"), ("ViT-B-16", "openai"), ("ViT-B-16", "dfn2b"),
    ("ViT-B-16", "metaclip_400m"), ("ViT-L-14", "openai"), ("ViT-L-14", "dfn2b"), ("ViT-L-14", "metaclip_fullcc"),
    ("ViT-L-14-336", "openai"), ("ViT-H-14", "dfn5b"), ("ViT-H-14", "metaclip_fullcc"), ("ViT-H-14-378", "dfn5b"),
    ("ViT-bigG-14", "metaclip_fullcc"), ("RN50", "openai"), ("RN50", "yfcc15m"), ("RN50", "cc12m"),
    ("RN101", "openai"), ("RN101", "yfcc15m"), ("RN50x4", "openai"), ("RN50x64", "openai"),
]  # fmt: skip
PLAIN_TAGS = [
    ("ViT-B-32", "laion2b_s34b_b79k"), ("ViT-B-32", "datacomp_xl_s13b_b90k"), ("ViT-B-16", "laion400m_e32"),
    ("ViT-B-16", "datacomp_xl_s13b_b90k"), ("ViT-L-14", "laion2b_s32b_b82k"), ("ViT-H-14", "laion2b_s32b_b79k"),
]  # fmt: skip


def activations(backbone: Backbone) -> set[type]:
    visual = backbone._model.visual
    return {type(block.mlp.gelu) for block in [*visual.transformer.resblocks, *backbone._model.transformer.resblocks]}


@pytest.mark.parametrize(("name", "tag"), QUICK_TAGS)
def test_tags_trained_with_quickgelu_get_it(name: str, tag: str) -> None:
    cfg = open_clip.get_pretrained_cfg(name, tag)
    assert cfg.get("quick_gelu") is True
    architecture, notes = loading.architecture_of(name, tag)
    assert architecture == name
    assert "QuickGELU" in notes[0]
    assert loading.architecture_of(f"{name}-quickgelu", tag) == (f"{name}-quickgelu", ())


@pytest.mark.parametrize(("name", "tag"), PLAIN_TAGS)
def test_tags_trained_with_plain_gelu_keep_it_whatever_the_name_says(name: str, tag: str) -> None:
    assert loading.architecture_of(name, tag) == (name, ())
    if open_clip.get_model_config(f"{name}-quickgelu") is not None:
        architecture, notes = loading.architecture_of(f"{name}-quickgelu", tag)
        assert architecture == name
        assert "plain GELU" in notes[0]


def test_no_tag_is_left_with_an_activation_it_was_not_trained_with() -> None:
    for name, tag in open_clip.list_pretrained():
        cfg = open_clip.get_pretrained_cfg(name, tag)
        architecture, notes = loading.architecture_of(name, tag)
        quick = bool(cfg.get("quick_gelu")) or bool(open_clip.get_model_config(architecture).get("quick_gelu"))
        # roberta-ViT-B-32 has QuickGELU in its own configuration, of which its tag says nothing.
        assert quick == bool(cfg.get("quick_gelu", name == "roberta-ViT-B-32")), (name, tag)
        assert all(name in note and (f"so {name}" not in note) for note in notes)


@pytest.mark.parametrize(
    ("name", "quick", "expected", "note"),
    [
        ("tiny-vit", True, QuickGELU, "QuickGELU, which is used although tiny-vit names plain GELU"),
        ("tiny-vit-quickgelu", True, QuickGELU, None),
        ("tiny-vit", False, nn.GELU, None),
        ("tiny-vit-quickgelu", False, nn.GELU, "tiny-vit is used in place of tiny-vit-quickgelu"),
    ],
)
def test_the_opened_network_has_the_tags_activation(
    pretend: Callable[..., None], no_network: list[Any], name: str, quick: bool, expected: type, note: str | None
) -> None:
    pretend("made_up", CLIP_STATISTICS, quick)
    backbone = open_backbone(f"{name}:made_up")
    assert activations(backbone) == {expected}
    if note is None:
        assert backbone.notes == ()
    else:
        assert len(backbone.notes) == 1
        assert note in backbone.notes[0]
    assert no_network == []


def test_a_resnet_tag_with_quickgelu_has_it_in_the_text_tower(pretend: Callable[..., None]) -> None:
    pretend("made_up", CLIP_STATISTICS, True, "native-resnet")
    blocks = open_backbone("tiny-vit:made_up")._model.transformer.resblocks
    assert {type(block.mlp.gelu) for block in blocks} == {QuickGELU}


def test_a_quickgelu_folder_opens_with_quickgelu(tmp_path: Path) -> None:
    assert activations(open_backbone(f"local-dir:{write('native-vit-quickgelu', tmp_path / 'm')}")) == {QuickGELU}
