"""A tiny ViT, where any backbone will do."""

import pytest

from lake_core.backbones.backbone import Backbone
from tests.core.tiny import OpenTiny


@pytest.fixture
def backbone(open_tiny: OpenTiny) -> Backbone:
    return open_tiny("native-vit")
