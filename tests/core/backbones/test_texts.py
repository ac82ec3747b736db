"""Texts that run through as many places of the text tower as they have tokens."""

from typing import Any

import pytest
import torch
from torch import Tensor

from lake_core.backbones.backbone import Backbone
from tests.core.tiny import Tiny

TEXTS = ["a photo of a nut.", "nut", "a close-up photo of something with a very long and winding scratch on one side."]


def test_embeddings_equal_those_of_whole_contexts(tiny: Tiny) -> None:
    check(tiny.backbone)


@pytest.mark.parametrize("name", ["lake_cnn", "lake_vit"])
def test_embeddings_of_the_included_models_equal_those_of_whole_contexts(
    name: str, request: pytest.FixtureRequest
) -> None:
    check(request.getfixturevalue(name))


def test_a_short_text_takes_only_its_own_places(lake_cnn: Backbone, monkeypatch: pytest.MonkeyPatch) -> None:
    transformer: Any = lake_cnn.network.transformer
    forward, lengths = transformer.forward, []

    def noted(tokens: Tensor, attn_mask: Tensor) -> Any:
        lengths.append(tokens.shape[1])
        return forward(tokens, attn_mask=attn_mask)

    monkeypatch.setattr(transformer, "forward", noted)
    lake_cnn.encode_text(["a text that nobody has read before"])
    assert lengths == [9]


def check(backbone: Backbone) -> None:
    model: Any = backbone.network
    with torch.inference_mode():
        whole = model.encode_text(backbone._tokenize(TEXTS), normalize=True).float()
    torch.testing.assert_close(backbone.encode_text(TEXTS), whole, rtol=1e-4, atol=1e-6)
