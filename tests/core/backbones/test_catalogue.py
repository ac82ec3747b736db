"""What is said of the models offered is what open_clip knows of them."""

import open_clip
import pytest
import torch

from lake_core.backbones.catalogue import OFFERED, UNTUNED, Offered, offered
from lake_core.backbones.registry import SHIPPED, parse_spec, pretrained_cfg
from lake_core.config import LakeConfig

BYTES = {"EVA02-B-16:merged2b_s8b_b131k": 2}  # a number; else 4


@pytest.mark.parametrize("one", OFFERED, ids=lambda one: one.spec)
def test_each_is_a_tag_of_the_installed_open_clip_with_weights_on_the_hub(one: Offered) -> None:
    name, tag = one.spec.split(":")
    assert (name, tag) in open_clip.list_pretrained()
    assert pretrained_cfg(name, tag)["hf_hub"]
    assert parse_spec(one.spec).scheme == "pretrained"
    assert offered(one.spec) is one
    assert all((one.title, one.licence, one.about.endswith(".")))


@pytest.mark.parametrize("one", OFFERED, ids=lambda one: one.spec)
def test_each_is_as_large_as_its_parameters(one: Offered) -> None:
    with torch.device("meta"):
        model = open_clip.create_model(one.spec.split(":")[0], load_weights=False, device="meta")
    n_parameters = sum(value.numel() for value in model.state_dict().values())
    assert one.n_megabytes == pytest.approx(n_parameters * BYTES.get(one.spec, 4) / 1e6, rel=0.01)


def test_the_families_asked_for_are_among_them() -> None:
    names = " ".join(one.spec for one in OFFERED)
    assert all(part in names for part in ("ViT-B-16:openai", "ViT-L-14-336:openai", "SigLIP", "MobileCLIP", "EVA02"))
    assert len({one.spec for one in OFFERED}) == len(OFFERED)
    assert all(offered(name) is None for name in SHIPPED)


def test_what_is_said_of_untuned_defaults_is_what_the_configuration_has() -> None:
    assert f"K = {LakeConfig().top_k} and w = {LakeConfig().fusion_weight} are the paper's" in UNTUNED
