"""Every family passes the checks, and what is broken on purpose fails the check that is made for it, and no other."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from open_clip.transformer import QuickGELU
from torch import Tensor, nn

from lake_core.backbones.adapters.base import Adapter
from lake_core.backbones.adapters.native_vit import NativeViT
from lake_core.backbones.adapters.timm_conv import TimmConv
from lake_core.backbones.backbone import Backbone
from lake_core.backbones.checks import TOLERANCE, Check, network_checks, seconds_per_image
from lake_core.backbones.hooks import Hook
from lake_core.backbones.opening import open_backbone
from lake_core.backbones.stated import stated
from lake_core.data.images import InputImage, read_image
from lake_core.detector.decomposition_check import decomposition
from lake_core.detector.result import ImageResult
from tests.core.tiny import FAMILIES, Tiny, small_nets, write

NAMES = ["Preprocessing", "Block outputs", "MLP neurons", "Image vector", "Activation"]


@pytest.fixture(scope="module")
def image() -> InputImage:
    rng = np.random.default_rng(3)
    return read_image(rng.integers(0, 256, (90, 70, 3), dtype=np.uint8), "noise")


@pytest.fixture
def open_family(tmp_path: Path) -> Callable[..., Backbone]:
    """Opens a tiny backbone of its own, which a test may break."""

    def open_it(name: str, **options: Any) -> Backbone:
        folder = write(name, tmp_path / name)
        with small_nets(FAMILIES[name]):
            return open_backbone(f"local-dir:{folder}", **options)

    return open_it


def run(backbone: Backbone, image: InputImage) -> dict[str, Check]:
    return {check.name: check for check in network_checks(backbone, image)}


def failed(backbone: Backbone, image: InputImage) -> list[str]:
    return [name for name, check in run(backbone, image).items() if check.passed is False]


def test_every_family_passes_and_says_what_it_measured(tiny: Tiny, image: InputImage) -> None:
    found = run(tiny.backbone, image)
    assert list(found) == NAMES
    assert [name for name, check in found.items() if check.passed is False] == []
    assert f"{len(tiny.family.grids)} layers" in found["Block outputs"].measured
    n_mlps = sum(n > 0 for n in tiny.family.hidden)
    assert (found["MLP neurons"].passed is None) == (n_mlps == 0)
    assert f"{n_mlps} layers" in found["MLP neurons"].measured or n_mlps == 0
    assert all("difference" in check.measured for check in found.values() if check.passed is not None)
    assert "image and 1 text blocks" in found["Activation"].measured


@pytest.mark.parametrize("size", [64, 128])
def test_grids_that_were_averaged_are_compared_too(
    open_family: Callable[..., Backbone], image: InputImage, size: int
) -> None:
    assert failed(open_family("efficientnet", image_size=size), image) == []


# Broken on purpose ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [{"mean": (0.5, 0.5, 0.5)}, {"std": (0.25, 0.3, 0.281)}, {"mean": (0.4, 0.5, 0.45)}],
    ids=["mean", "deviation", "channels swapped"],
)
def test_wrong_statistics_fail(
    open_family: Callable[..., Backbone], image: InputImage, change: dict[str, tuple[float, ...]]
) -> None:
    backbone = open_family("native-vit")
    backbone._preprocess = backbone._preprocess | change
    assert failed(backbone, image) == ["Preprocessing"]


def test_another_interpolation_fails(open_family: Callable[..., Backbone], image: InputImage) -> None:
    backbone = open_family("native-vit")
    backbone.frame = replace(backbone.frame, interpolation="bilinear")
    assert failed(backbone, image) == ["Preprocessing"]


@pytest.mark.parametrize(
    "hidden",
    [
        lambda _self, block: Hook(block.mlp.c_fc, "input"),
        lambda _self, block: Hook(block.mlp.c_fc, "output"),
        lambda _self, block: Hook(block.mlp.c_proj, "output"),
        lambda self, block: Hook(self.blocks()[0].mlp.c_proj, "input"),
        lambda _self, _block: None,
    ],
    ids=["before the MLP", "before the activation", "after the MLP", "another block", "none"],
)
def test_a_hook_in_the_wrong_place_of_the_mlp_fails(
    open_family: Callable[..., Backbone], image: InputImage, monkeypatch: pytest.MonkeyPatch, hidden: Any
) -> None:
    monkeypatch.setattr(NativeViT, "hidden", hidden)
    assert failed(open_family("native-vit"), image) == ["MLP neurons"]


@pytest.mark.parametrize(
    ("family", "adapter", "order"),
    [
        ("native-vit", NativeViT, (1, 0, 2)),
        ("native-vit", NativeViT, (0, 0, 2)),
        ("efficientnet", TimmConv, (0, 0, 2, 3, 4)),
        ("convnext", TimmConv, (0, 1, 3, 2, 4)),
        ("convnext", TimmConv, (0, 1, 2, 2, 4)),
        ("timm-resnet", TimmConv, (0, 1, 1, 3)),
    ],
)
def test_blocks_in_the_wrong_order_fail(
    open_family: Callable[..., Backbone],
    image: InputImage,
    monkeypatch: pytest.MonkeyPatch,
    family: str,
    adapter: type[Adapter],
    order: tuple[int, ...],
) -> None:
    own = adapter.blocks
    monkeypatch.setattr(adapter, "blocks", lambda self: [own(self)[index] for index in order])
    assert "Block outputs" in failed(open_family(family), image)


def test_a_hook_on_the_input_of_a_block_fails(
    open_family: Callable[..., Backbone], image: InputImage, monkeypatch: pytest.MonkeyPatch
) -> None:
    for adapter, family in ((NativeViT, "native-vit"), (TimmConv, "timm-resnet"), (TimmConv, "convnext")):
        own = adapter.hooks

        def hooks(self: Any, own: Any = own) -> Any:
            return {
                point: Hook(hook.module, "input") if point.site == "residual_channel" else hook
                for point, hook in own(self).items()
            }

        with monkeypatch.context() as patch:
            patch.setattr(adapter, "hooks", hooks)
            assert "Block outputs" in failed(open_family(family), image), family


def test_an_image_vector_that_skips_a_step_fails(
    open_family: Callable[..., Backbone], image: InputImage, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forward(self: Any, pixels: Tensor) -> tuple[Tensor, Tensor | None]:
        tokens = self.visual.transformer(self.visual._embeds(pixels))
        return tokens[:, 0] @ self.visual.proj, self.spread(tokens @ self.visual.proj)  # without the final norm

    monkeypatch.setattr(NativeViT, "forward", forward)
    assert failed(open_family("native-vit"), image) == ["Image vector"]


@pytest.mark.parametrize("tower", ["visual.transformer", "transformer"])
@pytest.mark.parametrize(("family", "wrong"), [("native-vit", QuickGELU), ("native-vit-quickgelu", nn.GELU)])
def test_another_activation_function_fails_in_either_tower(
    open_family: Callable[..., Backbone], image: InputImage, tower: str, family: str, wrong: type[nn.Module]
) -> None:
    backbone = open_family(family)
    backbone.network.get_submodule(tower).resblocks[-1].mlp.gelu = wrong()  # type: ignore[index, union-attr]
    assert failed(backbone, image) == ["Activation"]


def test_a_tensor_that_is_not_finite_fails(open_family: Callable[..., Backbone], image: InputImage) -> None:
    backbone = open_family("native-vit")
    with torch.no_grad():
        backbone.network.visual.transformer.resblocks[1].ln_1.weight.fill_(float("nan"))  # type: ignore[union-attr, index]
    assert {"Block outputs", "MLP neurons", "Image vector"} <= set(failed(backbone, image))


def test_a_block_without_any_activation_proves_nothing(open_family: Callable[..., Backbone], image: InputImage) -> None:
    backbone = open_family("native-vit")
    with torch.no_grad():
        for values in backbone.network.visual.transformer.resblocks[1].mlp.c_proj.parameters():  # type: ignore[union-attr, index]
            values.zero_()
    assert failed(backbone, image) == ["MLP neurons"]


# What is expected ----------------------------------------------------------------------------------------------------


def test_what_a_tag_states_comes_from_open_clips_registry() -> None:
    said = stated("ViT-B-32-quickgelu:openai")
    assert said.quick_gelu
    assert (said.source, said.interpolation) == ("the tag openai", "bicubic")
    assert said.mean == open_clip.OPENAI_DATASET_MEAN
    assert not stated("ViT-B-32-quickgelu:laion2b_s34b_b79k").quick_gelu
    assert stated("roberta-ViT-B-32:laion2b_s12b_b32k").quick_gelu
    assert stated("MobileCLIP-S1:datacompdr").mean == (0, 0, 0)
    siglip2 = stated("ViT-B-16-SigLIP2:webli")
    assert (siglip2.image_approximate, siglip2.text_approximate) == ("none", "tanh")


def test_what_files_state_comes_from_the_files(tmp_path: Path) -> None:
    folder = write("native-vit-quickgelu", tmp_path / "m")
    config = folder / "open_clip_config.json"
    specs = (f"local-dir:{folder}", f"checkpoint:{folder / 'open_clip_model.safetensors'}@{config}")
    for said in map(stated, specs):
        assert (said.source, said.quick_gelu, said.mean) == (config.name, True, (0.45, 0.5, 0.4))
    assert not stated("lake-cnn").quick_gelu


# The decomposition ---------------------------------------------------------------------------------------------------


@pytest.fixture
def normals(noise_images: list[InputImage]) -> list[InputImage]:
    return noise_images[:3]


def test_the_decomposition_adds_up(tiny: Tiny, normals: list[InputImage], image: InputImage) -> None:
    check = decomposition(tiny.backbone, normals, image)
    assert check.passed
    assert "the score of noise is" in check.measured


@pytest.fixture
def one_neuron_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    own = ImageResult.contributions
    monkeypatch.setattr(ImageResult, "contributions", lambda self, *args: own(self, *args).iloc[1:])


@pytest.mark.usefixtures("one_neuron_missing")
def test_a_contribution_left_out_fails(
    open_family: Callable[..., Backbone], normals: list[InputImage], image: InputImage
) -> None:
    assert decomposition(open_family("native-vit"), normals, image).passed is False


def test_a_scale_that_is_off_by_a_thousandth_fails(
    open_family: Callable[..., Backbone],
    normals: list[InputImage],
    image: InputImage,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert TOLERANCE < 1e-3
    own = ImageResult.contributions

    def scaled(self: ImageResult, *args: Any) -> Any:
        found = own(self, *args)
        return found.assign(contribution=found["contribution"] * 1.001)

    monkeypatch.setattr(ImageResult, "contributions", scaled)
    assert decomposition(open_family("native-vit"), normals, image).passed is False


def test_the_time_of_an_image_is_that_of_one_image(
    open_family: Callable[..., Backbone], image: InputImage, monkeypatch: pytest.MonkeyPatch
) -> None:
    ticks = iter([0.0, 100.0, 0.0, 2.0, 0.0, 1.0, 0.0, 9.0])
    monkeypatch.setattr("lake_core.backbones.checks.time.perf_counter", lambda: next(ticks))
    assert seconds_per_image(open_family("native-vit"), image, n_times=3) == 2.0
