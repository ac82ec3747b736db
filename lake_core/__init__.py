"""LAKE Explorer's core: numbers only. Import as `import lake_core as lk`.

backbone = lk.open_backbone("lake-cnn")
lake = lk.Lake(backbone, lk.LakeConfig(top_k=100, object_name="metal plate")).fit(normal_pictures)
result = lake.score(picture)
result.score, result.visual, result.cross_modal, result.map, result.ledger()
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lake_core.backbones import Backbone, Opening, open_backbone
    from lake_core.config import LakeConfig
    from lake_core.datasets import Dataset, Example, load_sample, read_folder, sample_names
    from lake_core.detector import Lake
    from lake_core.errors import LakeError
    from lake_core.evaluation import evaluate
    from lake_core.features import FeatureStore
    from lake_core.images import Picture, read_picture, read_pictures
    from lake_core.journal import Journal
    from lake_core.prompts import PromptEnsemble
    from lake_core.ray_engine import RayEngine
    from lake_core.scoring import ImageScore
    from lake_core.selection import Selection

_MODULES = {
    "backbones": ("Backbone", "Opening", "open_backbone"),
    "config": ("LakeConfig",),
    "datasets": ("Dataset", "Example", "load_sample", "read_folder", "sample_names"),
    "detector": ("Lake",),
    "errors": ("LakeError",),
    "evaluation": ("evaluate",),
    "features": ("FeatureStore",),
    "images": ("Picture", "read_picture", "read_pictures"),
    "journal": ("Journal",),
    "prompts": ("PromptEnsemble",),
    "ray_engine": ("RayEngine",),
    "scoring": ("ImageScore",),
    "selection": ("Selection",),
}
_HOME = {name: module for module, names in _MODULES.items() for name in names}

__all__ = [
    "Backbone",
    "Dataset",
    "Example",
    "FeatureStore",
    "ImageScore",
    "Journal",
    "Lake",
    "LakeConfig",
    "LakeError",
    "Opening",
    "Picture",
    "PromptEnsemble",
    "RayEngine",
    "Selection",
    "evaluate",
    "load_sample",
    "open_backbone",
    "read_folder",
    "read_picture",
    "read_pictures",
    "sample_names",
]


def __getattr__(name: str) -> Any:
    """Imports a public name when it is first used, so that `lake --help` need not wait for the networks."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
