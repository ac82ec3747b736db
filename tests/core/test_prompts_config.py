"""Parameters that cannot be wrong, and the text directions that prompts become."""

import dataclasses
import json
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from lake_core.backbones.backbone import Backbone
from lake_core.config import LakeConfig, Recommended, ResolvedConfig, TextConfig
from lake_core.detector.text import text_directions
from lake_core.errors import ConfigError
from lake_core.prompts import PromptEnsemble

SMALL = PromptEnsemble(("{}", "good {}"), ("broken {}", "{} with a hole", "bad {}"), ("a photo of a {}.", "the {}."))


def test_defaults_are_those_of_the_method() -> None:
    config = LakeConfig()
    assert (config.top_k, config.criterion, config.fusion_weight, config.top_q) == (100, "variance", 0.3, 1)
    assert config.calibration_quantile == 0.99
    assert config.layers is config.site is config.normalise is config.smooth is None


@pytest.mark.parametrize(
    "wrong",
    [
        {"layers": ()}, {"layers": (0, 2)}, {"layers": (1.5,)}, {"top_k": 2.5}, {"seed": -1}, {"smooth": 3.5},
        {"site": "neuron"}, {"top_k": 0}, {"criterion": "entropy"}, {"normalise": "l1"},
        {"smooth": 2}, {"smooth": 0}, {"smooth": -1}, {"calibration_quantile": 0.0}, {"calibration_quantile": 1.01},
        {"fusion_weight": -0.1}, {"fusion_weight": 1.1}, {"fusion_weight": float("nan")}, {"top_q": 0},
        {"threshold_quantile": 1.5}, {"threshold_quantile": -0.5},
        {"top_k": ()}, {"top_k": (3, 0)}, {"top_k": (3, 2.5)}, {"top_k": [3, 4]},
    ],
)  # fmt: skip
def test_values_that_are_not_allowed_are_refused_in_one_sentence(wrong: dict[str, Any]) -> None:
    name = next(iter(wrong))
    with pytest.raises(ConfigError, match=f"^{name} is .*; it must be ") as caught:
        LakeConfig(**wrong)
    assert "\n" not in str(caught.value)


def test_configurations_are_frozen_equal_by_value_and_usable_as_keys() -> None:
    one, other = (
        LakeConfig(layers=(3, 1, 3), object_name="  metal \n plate "),
        LakeConfig(layers=(1, 3), object_name="metal plate"),
    )
    assert one == other
    assert hash(one) == hash(other)
    assert one.layers == (1, 3)
    assert {one: 1}[other] == 1
    assert LakeConfig(top_k=5) != LakeConfig(top_k=6)
    with pytest.raises(dataclasses.FrozenInstanceError):
        one.top_k = 3  # type: ignore[misc]


@pytest.mark.parametrize(
    ("layers", "top_k", "kept", "ks"),
    [
        ((15, 12), (60, 100), (100, 60), {12: 100, 15: 60, 9: 100}),
        ((12, 15), (100, 60), (100, 60), {12: 100, 15: 60, 9: 100}),
        ((12, 15), 7, 7, {12: 7, 15: 7, 9: 7}),
        ((12, 15), (7, 7), 7, {12: 7, 15: 7}),
        ((15,), (60,), 60, {15: 60}),
        (None, (100, 60), (100, 60), {}),
    ],
)
def test_k_is_one_number_or_goes_with_its_layer(
    layers: tuple[int, ...] | None, top_k: int | tuple[int, ...], kept: int | tuple[int, ...], ks: dict[int, int]
) -> None:
    config = LakeConfig(layers=layers, top_k=top_k)
    assert config.top_k == kept
    assert {layer: config.k_of(layer) for layer in ks} == ks
    assert config.ks == (kept if isinstance(kept, tuple) else (kept,))
    assert LakeConfig.from_dict(json.loads(json.dumps(config.as_dict()))) == config
    assert hash(LakeConfig(layers=config.layers, top_k=kept)) == hash(config)


@pytest.mark.parametrize(
    ("layers", "top_k"), [((12, 15), (60, 70, 80)), ((12, 15), (60,)), ((15,), (60, 70)), ((12, 12), (60, 70))]
)
def test_one_k_for_each_layer_must_match_the_layers_chosen_or_recommended(
    layers: tuple[int, ...], top_k: tuple[int, ...]
) -> None:
    words = f"top_k is {top_k!r}; it must be one number for all layers, or one for each of the layers "
    with pytest.raises(ConfigError, match="^" + re.escape(words + ", ".join(map(str, layers)) + ".") + "$"):
        LakeConfig(layers=layers, top_k=top_k)
    if len(set(top_k)) > 1:
        with pytest.raises(ConfigError, match=re.escape(words)):
            LakeConfig(top_k=top_k).resolved(Recommended(layers, "mlp_hidden"))


def test_the_papers_preset_is_what_is_known_of_it_and_nothing_else() -> None:
    config = LakeConfig.preset("paper")
    known = LakeConfig(site="residual_channel", top_k=100, criterion="variance", normalise="none", smooth=1)
    assert config == dataclasses.replace(known, fusion_weight=0.3, top_q=1)
    assert config.layers is None, "not known: the backbone's recommendation"
    assert config.resolved(Recommended((16,), "mlp_hidden")).layers == (16,)
    assert config.resolved(Recommended((16,), "mlp_hidden")).site == "residual_channel"


def test_given_parameters_override_those_of_a_preset() -> None:
    config = LakeConfig.preset("paper", top_k=7, object_name="nut")
    assert (config.top_k, config.object_name, config.smooth) == (7, "nut", 1)
    with pytest.raises(ConfigError, match=r"^preset is 'papers'; it must be one of paper\.$"):
        LakeConfig.preset("papers")


def test_an_empty_object_name_becomes_object() -> None:
    assert LakeConfig(object_name="  ").object_name == "object"


def test_open_parameters_come_from_the_backbone_and_chosen_ones_stay() -> None:
    recommended = Recommended((8,), "residual_channel", "none", 1)
    resolved = LakeConfig(top_k=7).resolved(recommended)
    assert isinstance(resolved, ResolvedConfig)
    assert (resolved.layers, resolved.site, resolved.normalise, resolved.smooth) == (
        (8,),
        "residual_channel",
        "none",
        1,
    )
    assert resolved.top_k == 7
    chosen = LakeConfig(layers=(2,), site="mlp_hidden", normalise="unit", smooth=5).resolved(recommended)
    assert (chosen.layers, chosen.site, chosen.normalise, chosen.smooth) == ((2,), "mlp_hidden", "unit", 5)
    assert resolved.resolved(Recommended((1,), "mlp_hidden")) == resolved


def test_a_configuration_survives_json() -> None:
    config = LakeConfig(layers=(2, 5), site="mlp_hidden", fusion_weight=0.1, prompts=SMALL, object_name="cable")
    assert LakeConfig.from_dict(json.loads(json.dumps(config.as_dict()))) == config
    assert LakeConfig.from_dict({}) == LakeConfig()


@pytest.mark.parametrize(
    "values",
    [
        {"top_q": 0}, {"topk": 3}, {"layers": 5}, {"layers": ["x"]}, {"top_k": "many"}, {"prompts": {"states": []}},
        {"prompts": {"templates": []}}, {"prompts": 5}, {"object_name": 5}, {"seed": "x"}, {"top_k": 2.5},
        {"seed": -1}, {"layers": [1.5]}, {"fusion_weight": None}, {"prompts": {"templates": "a {}"}},
        {"top_k": []}, {"top_k": [3, "x"]},
    ],
)  # fmt: skip
def test_a_configuration_that_cannot_be_read_is_refused(values: dict[str, Any]) -> None:
    with pytest.raises(ConfigError) as caught:
        LakeConfig.from_dict(values)
    assert "\n" not in str(caught.value)


# Prompts -------------------------------------------------------------------------------------------------------------


def test_each_combination_of_state_and_template_is_one_prompt() -> None:
    assert SMALL.normal_texts("cable") == [
        "a photo of a cable.", "the cable.", "a photo of a good cable.", "the good cable."
    ]  # fmt: skip
    assert len(SMALL.anomalous_texts("cable")) == 6
    assert "the cable with a hole." in SMALL.anomalous_texts("cable")
    assert len(PromptEnsemble().normal_texts("x")) == 42
    assert all(text.count("pcb") == 1 and "{" not in text for text in PromptEnsemble().anomalous_texts("pcb"))


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"normal_states": ()}, "at least one phrase for normal; add one"),
        ({"templates": ()}, "at least one template; add one"),
        ({"templates": ("no hole",)}, "The template 'no hole' must have exactly one {}"),
        ({"anomalous_states": ("{} and {}",)}, "The phrase for anomalous '{} and {}' must have exactly one {}"),
        ({"anomalous_states": ("{}" + 199 * "x",)}, "... has 201 characters"),
    ],
)
def test_phrases_need_exactly_one_hole_and_an_end(wrong: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(words)):
        PromptEnsemble(**wrong)


def test_braces_in_an_object_name_are_only_text() -> None:
    assert SMALL.normal_texts("{x} {0}")[0] == "a photo of a {x} {0}."


def test_text_directions_are_normalised_means() -> None:
    rng = np.random.default_rng(0)
    known = {text: rng.normal(size=6) for text in [*SMALL.normal_texts("cable"), *SMALL.anomalous_texts("cable")]}
    known = {text: row / np.linalg.norm(row) for text, row in known.items()}
    calls: list[int] = []

    def encode(texts: Sequence[str]) -> Tensor:
        calls.append(len(texts))
        return torch.tensor(np.stack([known[text] for text in texts]), dtype=torch.float32)

    found = text_directions(encode, TextConfig(prompts=SMALL, object_name="cable"))
    assert calls == [10]
    for direction, texts in zip(found, (SMALL.normal_texts("cable"), SMALL.anomalous_texts("cable")), strict=True):
        mean = np.mean([known[text] for text in texts], axis=0)
        np.testing.assert_allclose(direction, mean / np.linalg.norm(mean), atol=1e-6)


def test_the_object_name_and_the_prompt_change_the_directions(lake_cnn: Backbone) -> None:
    one, other, worded = (
        text_directions(lake_cnn.encode_text, TextConfig(prompts=prompts, object_name=name))
        for prompts, name in ((SMALL, "cable"), (SMALL, "gravel"), (PromptEnsemble(), "cable"))
    )
    for direction in (one, other, worded):
        torch.testing.assert_close(direction.normal.norm(), torch.tensor(1.0))
        assert float(direction.normal @ direction.anomalous) < 0.9999
    assert float((one.normal - other.normal).norm()) > 0.05
    assert float((one.anomalous - worded.anomalous).norm()) > 0.01


@pytest.mark.parametrize(
    ("quantile", "said"),
    [(0.99, "99th"), (0.995, "99.5th"), (0.91, "91st"), (0.12, "12th"), (0.93, "93rd"), (0.52, "52nd"), (1.0, "100th")],
)
def test_the_calibration_quantile_is_named_as_a_percentile(quantile: float, said: str) -> None:
    assert LakeConfig(calibration_quantile=quantile).calibration_percentile == f"{said} percentile"
