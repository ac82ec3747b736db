"""Tiny random models of every backbone family, written as local folders and opened like a user's own.

Nothing in them is zero or one by initialisation: batch statistics, layer scales and biases are random, so that a step
that is left out changes the numbers.
"""

import json
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any
from unittest import mock

import open_clip
import pytest
import timm
import torch
from safetensors.torch import save_file
from timm.models import vision_transformer_hybrid
from torch import nn

from lake_core.backbones.backbone import Backbone

OpenTiny = Callable[..., Backbone]

EMBED_DIM = 24
TEXT = {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1}
PREPROCESS = {"mean": [0.45, 0.5, 0.4], "std": [0.25, 0.3, 0.28], "interpolation": "bicubic", "resize_mode": "squash"}


@dataclass(frozen=True)
class Family:
    """One tiny model and what must be found in it.

    Attributes:
        vision: Its vision_cfg.
        adapter: Name of the adapter that must take it.
        grids: Side of the patch grid of each layer.
        channels: Channel neurons of each layer.
        hidden: Hidden neurons of each layer, 0 where a block has none.
        size: Input side in pixels.
        covered: Input pixels that the grids cover; None means all.
        joint: Side of the grid of patch directions; None where the head does not act on single patches.
        linear: The patch directions average to the image vector (a linear head on averaged locations).
        timm_options: Passed to timm.create_model to make the net small.
        model: Further entries of model_cfg.
    """

    vision: dict[str, Any]
    adapter: str
    grids: tuple[int, ...]
    channels: tuple[int, ...]
    hidden: tuple[int, ...]
    size: int
    joint: int | None
    covered: int | None = None
    linear: bool = False
    timm_options: dict[str, Any] = field(default_factory=dict)
    model: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Tiny:
    """A tiny backbone and what must be found in it."""

    name: str
    family: Family
    backbone: Backbone


def _native(**options: Any) -> dict[str, Any]:
    return {"layers": 3, "width": 32, "head_width": 16, "patch_size": 8} | options


def _timm(name: str, pool: str, proj: str | None) -> dict[str, Any]:
    return {"timm_model_name": name, "timm_model_pretrained": False, "timm_pool": pool, "timm_proj": proj}


_SMALL_VIT = {"embed_dim": 32, "depth": 2, "num_heads": 2, "img_size": 64}
_SMALL_TEXT_TOWER = {"custom_text": True}

FAMILIES: dict[str, Family] = {
    "native-vit": Family(_native(), "NativeViT", (5, 5, 5), (32,) * 3, (128,) * 3, 40, 5),
    "native-vit-quickgelu": Family(
        _native(mlp_ratio=2.0, ls_init_value=0.5),
        "NativeViT",
        (5, 5, 5),
        (32,) * 3,
        (64,) * 3,
        44,
        5,
        covered=40,
        model={"quick_gelu": True},
    ),
    "native-vit-attention-pool": Family(
        _native(layers=2, attentional_pool=True, attn_pooler_heads=2, attn_pooler_queries=4),
        "NativeViT",
        (4, 4),
        (32,) * 2,
        (128,) * 2,
        32,
        None,
    ),
    "siglip": Family(
        _timm("vit_base_patch16_siglip_224", "map", "none"),
        "TimmViT",
        (4, 4),
        (24,) * 2,
        (96,) * 2,
        64,
        4,
        timm_options=_SMALL_VIT | {"embed_dim": EMBED_DIM},
        model={"custom_text": True, "init_logit_bias": -10},
    ),
    "eva02": Family(
        _timm("eva02_base_patch16_clip_224", "token", None),
        "TimmViT",
        (4, 4),
        (32,) * 2,
        (85,) * 2,
        64,
        4,
        timm_options=_SMALL_VIT,
        model=_SMALL_TEXT_TOWER,
    ),
    "perception-encoder": Family(
        _timm("vit_pe_core_base_patch16_224", "map", None),
        "TimmViT",
        (4, 4),
        (32,) * 2,
        (128,) * 2,
        64,
        4,
        timm_options=_SMALL_VIT,
        model=_SMALL_TEXT_TOWER,
    ),
    "mobileclip-b": Family(
        _timm("vit_base_mci_224", "token", None),
        "TimmViT",
        (4, 4),
        (32,) * 2,
        (128,) * 2,
        64,
        4,
        timm_options=_SMALL_VIT,
        model=_SMALL_TEXT_TOWER,
    ),
    "timm-vit-average": Family(
        _timm("test_vit", "avg", "linear"),
        "TimmViT",
        (4, 4),
        (32,) * 2,
        (96,) * 2,
        64,
        4,
        timm_options=_SMALL_VIT,
    ),
    "efficientnet": Family(
        _timm("test_efficientnet", "avg", "linear"),
        "TimmConv",
        (32, 16, 8, 4, 2),
        (16, 24, 32, 48, 64),
        (0, 64, 96, 128, 192),
        64,
        2,
        linear=True,
    ),
    "convnext": Family(
        _timm("test_convnext", "", "linear"),
        "TimmConv",
        (16, 8, 4, 4, 2),
        (20, 24, 32, 32, 40),
        (80, 96, 128, 128, 160),
        64,
        2,
        timm_options={"depths": (1, 1, 2, 1), "dims": (20, 24, 32, 40)},
    ),
    "convnext-conv-mlp": Family(
        _timm("test_convnext", "avg", "linear"),
        "TimmConv",
        (16, 8, 4, 2),
        (16, 24, 32, 40),
        (64, 96, 128, 160),
        64,
        2,
        timm_options={"depths": (1, 1, 1, 1), "dims": (16, 24, 32, 40), "conv_mlp": True},
    ),
    "fastvit": Family(
        _timm("fastvit_mci0", "avg", None),
        "TimmConv",
        (16, 8, 4, 2),
        (16, 32, 64, 128),
        (48, 96, 192, 384),
        64,
        2,
        linear=True,
        timm_options={"layers": (1, 1, 1, 1), "embed_dims": (16, 32, 64, 128)},
        model=_SMALL_TEXT_TOWER,
    ),
    "timm-resnet": Family(
        _timm("test_resnet", "avg", "linear"),
        "TimmConv",
        (16, 8, 4, 2),
        (32, 48, 192, 96),
        (0, 0, 0, 0),
        64,
        2,
        linear=True,
    ),
    "timm-resnet-attention-pool": Family(
        _timm("test_resnet", "rot_attn", ""),
        "TimmConv",
        (16, 8, 4, 2),
        (32, 48, 192, 128),
        (0, 0, 0, 0),
        64,
        None,
        timm_options={"channels": (32, 48, 48, 128)},
        model={"embed_dim": 64},
    ),
    "native-resnet": Family(
        {"layers": [1, 2, 1, 1], "width": 8, "head_width": 64, "patch_size": None},
        "NativeResNet",
        (16, 8, 8, 4, 2),
        (32, 64, 64, 128, 256),
        (0, 0, 0, 0, 0),
        64,
        2,
        model={"quick_gelu": True},
    ),
}


def shape_of(family: Family) -> tuple[bool, ...]:
    """All that the arithmetic after the network can see of a family.

    Whether patches cover less than the input, whether patch directions are missing, whether grids differ between
    layers, and whether the grid of the patch directions is coarser than the finest of them.
    """
    finest = max(family.grids)
    coarse_joint = family.joint is not None and family.joint < finest
    return family.covered is not None, family.joint is None, len(set(family.grids)) > 1, coarse_joint


SHAPES = tuple({shape_of(family): name for name, family in reversed(FAMILIES.items())}.values())
"""The first family of each shape: plain, uncovered rim, no joint space, coarse joint grid, mixed grids."""


def each_shape(*others: Iterable[Any]) -> list[Any]:
    """Parameters: a family's name, or with `others` a tuple of it and one of each; SHAPES, or with --all-families all.

    For what is computed from activations alone. Where the family's own network matters, take FAMILIES.
    """
    return [
        pytest.param(
            (name, *rest) if others else name,
            id=" ".join(map(str, (name, *rest))),
            marks=() if name in SHAPES else pytest.mark.sweep,
        )
        for name, *rest in product(FAMILIES, *others)
    ]


def config_of(family: Family) -> dict[str, Any]:
    """Its open_clip_config.json."""
    vision = family.vision | {"image_size": family.size}
    model = {"embed_dim": EMBED_DIM, "vision_cfg": vision, "text_cfg": TEXT} | family.model
    return {"model_cfg": model, "preprocess_cfg": PREPROCESS | {"size": [family.size, family.size]}}


@contextmanager
def small_nets(family: Family) -> Iterator[None]:
    """While it lasts, timm makes the family's nets small."""
    create, stem = timm.create_model, vision_transformer_hybrid.ConvStem

    def small(name: str, **options: Any) -> nn.Module:
        return create(name, **(options | family.timm_options))

    def small_stem(**options: Any) -> nn.Module:
        return stem(**(options | {"channels": (8, 8, 32)}))

    with (
        mock.patch.object(timm, "create_model", small),
        mock.patch.object(vision_transformer_hybrid, "ConvStem", small_stem),
    ):
        yield


def write(name: str, folder: Path, config: dict[str, Any] | None = None) -> Path:
    """Writes the family's model into a folder: configuration and random weights. Returns the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "open_clip_config.json").write_text(json.dumps(config or config_of(FAMILIES[name])))
    save_file(random_weights(name), folder / "open_clip_model.safetensors")
    return folder


def write_monotone(folder: Path) -> Path:
    """Writes a tiny ViT whose blocks see images and whose head says the same of every patch. Returns the folder."""
    write("native-vit", folder)
    weights = random_weights("native-vit")
    weights["visual.ln_post.weight"].zero_()
    save_file(weights, folder / "open_clip_model.safetensors")
    return folder


def random_weights(name: str) -> dict[str, torch.Tensor]:
    """The random weights of a family, the same at every call."""
    family = FAMILIES[name]
    open_clip.factory._MODEL_CONFIGS["tiny"] = config_of(family)["model_cfg"]
    try:
        with small_nets(family):
            model = open_clip.create_model("tiny", load_weights=False)
    finally:
        del open_clip.factory._MODEL_CONFIGS["tiny"]
    randomise(model, zlib.crc32(name.encode()))
    return {key: value.contiguous() for key, value in model.state_dict().items()}


@torch.no_grad()
def randomise(model: nn.Module, seed: int) -> None:
    """Random values of a sensible size for everything, scales and batch statistics included."""
    generator = torch.Generator().manual_seed(seed)

    def normal(tensor: torch.Tensor, size: float) -> None:
        tensor.copy_(torch.randn(tensor.shape, generator=generator) * size)

    def around_one(tensor: torch.Tensor) -> None:
        tensor.copy_(torch.rand(tensor.shape, generator=generator) + 0.5)

    for name, value in model.named_parameters():
        if name == "logit_scale":
            value.fill_(3.0)
        elif name == "logit_bias":
            value.fill_(-10.0)
        elif "gamma" in name or "layer_scale" in name or (value.ndim == 1 and name.endswith("weight")):
            around_one(value)
        elif value.ndim <= 1 or "embed" in name:
            normal(value, 0.3)
        else:
            normal(value, (value.numel() / value.shape[0]) ** -0.5)
    for name, statistic in model.named_buffers():
        if name.endswith("running_mean"):
            normal(statistic, 0.3)
        elif name.endswith("running_var"):
            around_one(statistic)
