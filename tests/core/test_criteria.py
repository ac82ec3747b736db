"""The registry of ranking criteria: what is in it is allowed, offered and used, and nothing else."""

from collections.abc import Iterator

import numpy as np
import pytest
from torch import Tensor

import lake_core as lk
from lake_core.backbones.backbone import Backbone
from lake_core.criteria import criteria
from lake_core.criteria.base import Criterion
from lake_core.data.images import InputImage


def test_rankings_come_first_and_the_default_leads() -> None:
    assert list(criteria()) == ["variance", "range", "robust", "all", "random"]
    assert [name for name, one in criteria().items() if one.is_control] == ["all", "random"]


def test_a_name_that_is_not_there_is_refused_with_those_that_are() -> None:
    with pytest.raises(lk.ConfigError, match=r"criterion is 'kurtosis'; it must be one of variance, range, robust"):
        lk.LakeConfig(criterion="kurtosis")


@pytest.fixture
def first_image_only() -> Iterator[None]:
    """While it lasts, there is one criterion more, which looks at images and layers apart."""

    class FirstImageOnly(Criterion):
        name = "first"
        title = "variance over the first image"
        statistic = "variance of the activation"

        def sensitivity(self, acts_ipn: Tensor, inside_ip: Tensor, layer: int) -> np.ndarray:
            return acts_ipn[0][inside_ip[0]].var(0).numpy() * layer

    criteria.cache_clear()
    yield
    del FirstImageOnly
    criteria.cache_clear()


def test_another_criterion_is_used_as_soon_as_its_class_is_there(
    first_image_only: None, lake_cnn: Backbone, noise_images: list[InputImage]
) -> None:
    lake = lk.Lake(lake_cnn, lk.LakeConfig(criterion="first", top_k=5)).fit(noise_images[:2])
    acts_ipn, inside_ip = lake.normal_patches(15)
    expected = acts_ipn[0][inside_ip[0]].var(0).numpy() * 15
    np.testing.assert_allclose(lake.selection_[15].sensitivity, expected, rtol=1e-6)
    assert lake.selection_[15].neurons.tolist() == np.argsort(-expected, kind="stable")[:5].tolist()
