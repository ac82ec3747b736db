"""The sentence with which a spec is refused, and the statistics of a made-up tag."""

from typing import Any

import pytest

from lake_core.backbones.opening import open_backbone
from lake_core.errors import BackboneError

CLIP_STATISTICS = {"mean": (0.48, 0.46, 0.41), "std": (0.27, 0.26, 0.28), "interpolation": "bicubic"}


def message(spec: str, **options: Any) -> str:
    """The sentence with which a spec is refused; it must be one, and name the spec."""
    with pytest.raises(BackboneError) as caught:
        open_backbone(spec, **options)
    text = str(caught.value)
    assert "\n" not in text
    assert spec in text
    assert text.endswith((".", "?"))
    assert len(text) < 600
    return text
