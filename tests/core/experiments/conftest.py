"""Fitted detectors of every family, for tests that ablate their neurons."""

from collections.abc import Callable
from typing import Any

import pytest

from lake_core.backbones.backbone import Backbone
from lake_core.backbones.feature_store import FeatureStore
from lake_core.config import LakeConfig
from lake_core.data.images import InputImage
from lake_core.detector.lake import Lake
from tests.core.method import CASES, N_NORMALS, layers_of, site_of
from tests.core.tiny import OpenTiny, each_shape


@pytest.fixture(scope="session")
def lakes(open_tiny: OpenTiny, noise_images: list[InputImage]) -> Any:
    """Fitted detectors by family and case of `test_scoring`, each with all images in its store."""
    stores: dict[Backbone, FeatureStore] = {}

    def make(name: str, case: str = "channel, neuron, letterbox", **changes: Any) -> Lake:
        resize, options = CASES[case]
        backbone = open_tiny(name, resize=resize)
        store = stores.setdefault(backbone, FeatureStore(backbone))
        site = site_of(backbone, options["site"])
        options = options | {"site": site, "layers": layers_of(backbone, site, 8)} | changes
        lake = Lake(backbone, LakeConfig(**options), store).fit(noise_images[:N_NORMALS])
        store.ensure(noise_images, lake.hook_points)
        return lake

    return make


@pytest.fixture(params=each_shape(list(CASES)[:2]))
def fitted(request: pytest.FixtureRequest, lakes: Any) -> Lake:
    """Every family over several layers, in two cases that take both kinds, scalings and resizings between them."""
    return lakes(*request.param).with_weights(fusion_weight=0.3)


@pytest.fixture(scope="session")
def causal_lakes(noise_images: list[InputImage]) -> Callable[..., Lake]:
    """Fitted detectors over all layers with small grids, one store for each backbone."""
    stores: dict[Backbone, FeatureStore] = {}

    def make(backbone: Backbone, **options: Any) -> Lake:
        store = stores.setdefault(backbone, FeatureStore(backbone))
        site = site_of(backbone, "mlp_hidden")
        given: dict[str, Any] = {"site": site, "layers": layers_of(backbone, site, 8), "top_k": 8} | options
        lake = Lake(backbone, LakeConfig(**given), store).fit(noise_images[:N_NORMALS])
        store.ensure(noise_images, backbone.hook_points)
        return lake

    return make
