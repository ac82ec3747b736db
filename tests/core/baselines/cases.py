"""Small backbones on which each baseline is compared with the same formulas in double precision, patch by patch."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lake_core.backbones.backbone import Backbone
from lake_core.backbones.feature_store import FeatureStore
from lake_core.backbones.patch_grid import PatchGrid
from lake_core.config import LakeConfig
from lake_core.data.images import InputImage
from lake_core.detector.memory_bank import finest
from tests.core.method import layers_of, lies_inside, naive_subspace, site_of, under
from tests.core.tiny import OpenTiny

N_NORMALS = 3
CASES: list[tuple[str, dict[str, Any]]] = [
    ("native-vit", {}),
    ("native-vit", {"resize": "letterbox"}),
    ("efficientnet", {"resize": "letterbox"}),
]
"""A family and how it is opened: one grid or several, all patches on the image or some."""


@dataclass(frozen=True)
class Case:
    """Two layers of a backbone, with normal images and others."""

    backbone: Backbone
    store: FeatureStore
    config: LakeConfig
    normals: Sequence[InputImage]
    tests: Sequence[InputImage]

    @property
    def grid(self) -> PatchGrid:
        return finest([self.backbone.layer(number).grid for number in self.config.layers or ()])

    def features(self, images: Sequence[InputImage], smooth: int) -> np.ndarray:
        """(images, patches, features) float64: all neurons of both layers."""
        found = []
        for number in self.config.layers or ():
            hook_point = self.backbone.hook_point(number, self.config.site or "mlp_hidden")
            acts = np.stack([self.store.get(image, hook_point).double().numpy() for image in images])
            grid = self.backbone.grid(hook_point)
            rows = naive_subspace(acts, np.arange(acts.shape[2]), grid, smooth, "none")
            found.append(rows[:, under(self.grid, grid)])
        return np.concatenate(found, axis=2)

    def inside(self, images: Sequence[InputImage]) -> np.ndarray:
        """(images, patches) bool."""
        return np.stack([lies_inside(self.grid, self.backbone, image) for image in images])

    def normal_patches(self, smooth: int) -> np.ndarray:
        """(m, features) float64."""
        return self.features(self.normals, smooth)[self.inside(self.normals)]


def case(name: str, options: dict[str, Any], open_tiny: OpenTiny, images: Sequence[InputImage]) -> Case:
    backbone = open_tiny(name, **options)
    site = site_of(backbone, "mlp_hidden")
    layers = layers_of(backbone, site, 16)
    # The first and the last, which in a convolutional network have other grids; as wide as there are normal patches.
    config = LakeConfig(layers=(layers[0], layers[-1]), site=site, seed=5)
    return Case(backbone, FeatureStore(backbone), config, images[:N_NORMALS], images[N_NORMALS:])


def same_on_images(maps: np.ndarray, expected: np.ndarray, inside: np.ndarray, atol: float = 1e-5) -> None:
    """Maps are those expected where patches lie on the image, and no number elsewhere."""
    assert np.array_equal(np.isnan(maps), ~inside)
    np.testing.assert_allclose(maps[inside], expected[inside], rtol=1e-3, atol=atol)
