"""Each image tower has exactly one adapter, and a new family needs nothing but its own file."""

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from lake_core.backbones import adapters
from lake_core.backbones.backbone import Backbone
from lake_core.errors import BackboneError
from tests.core.tiny import Tiny

NEW_FAMILY = """
from lake_core.backbones.adapters.native_resnet import NativeResNet

class Mixer(NativeResNet):
    family = "Mixer"

    @classmethod
    def matches(cls, visual):
        return hasattr(visual, "mixers")

    def blocks(self):
        return self.visual.mixers
"""


@pytest.fixture
def new_family(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    (tmp_path / "mixer.py").write_text(NEW_FAMILY)
    monkeypatch.setattr(adapters, "__path__", [*adapters.__path__, str(tmp_path)])
    adapters._families.cache_clear()
    yield
    adapters._families.cache_clear()


def test_each_tower_is_matched_by_its_own_adapter_alone(tiny: Tiny) -> None:
    matching = [family.__name__ for family in adapters._families() if family.matches(tiny.backbone.adapter.visual)]
    assert matching == [tiny.family.adapter]
    assert type(tiny.backbone.adapter).__name__ == tiny.family.adapter


def test_neurons_of_lake_cnn_reach_the_ceiling_that_is_named_and_no_more(lake_cnn: Backbone) -> None:
    places = lake_cnn.hook_points - lake_cnn.text_hook_points
    named = {place: ceiling for place in places if (ceiling := lake_cnn.ceiling(place)) is not None}
    assert {place.site for place in named} == {"mlp_hidden"}
    assert len(named) == len(lake_cnn.layers_with("mlp_hidden"))
    assert set(named.values()) == {("ReLU6", 6.0)}
    glaring = 30 * torch.randn(1, 3, *lake_cnn.input_size, generator=torch.Generator().manual_seed(0))
    found = lake_cnn.forward(glaring, places)
    assert max(float(found[place].max()) for place in named) == 6
    assert max(float(found[place].max()) for place in places - set(named)) > 6


def test_towers_without_a_bounded_activation_function_name_no_ceiling(tiny: Tiny) -> None:
    backbone = tiny.backbone
    assert [backbone.ceiling(place) for place in backbone.hook_points] == [None] * len(backbone.hook_points)


@pytest.mark.usefixtures("new_family")
def test_a_family_in_a_file_of_its_own_is_found() -> None:
    adapter = adapters.adapter_of(SimpleNamespace(visual=SimpleNamespace(mixers=[1, 2])))
    assert (adapter.family, adapter.n_layers) == ("Mixer", 2)


@pytest.mark.parametrize("visual", [SimpleNamespace(), SimpleNamespace(trunk=SimpleNamespace(layers=[]))])
def test_an_unknown_family_is_refused_in_one_sentence(visual: SimpleNamespace) -> None:
    with pytest.raises(BackboneError, match="SimpleNamespace is of a family that LAKE Explorer does not know; use a"):
        adapters.adapter_of(SimpleNamespace(visual=visual))
