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
    from lake_core.causal import ablate, patch_in
    from lake_core.comparison import compare_ledgers
    from lake_core.config import LakeConfig
    from lake_core.contamination import contaminate
    from lake_core.datasets import Dataset, Example, load_sample, read_folder, sample_names
    from lake_core.detector import Lake
    from lake_core.errors import LakeError
    from lake_core.evaluation import evaluate
    from lake_core.features import FeatureStore
    from lake_core.images import Picture, read_picture, read_pictures
    from lake_core.interventions import switch_off, switch_off_control, switch_off_tests
    from lake_core.journal import Journal
    from lake_core.prompts import PromptEnsemble
    from lake_core.ray_engine import RayEngine
    from lake_core.rewording import wording_sensitivity
    from lake_core.robustness import score_stability
    from lake_core.scoring import ImageScore
    from lake_core.selection import Selection
    from lake_core.wording import prompt_table, reworded, text_map

_MODULES = {
    "backbones": ("Backbone", "Opening", "open_backbone"),
    "causal": ("ablate", "patch_in"),
    "comparison": ("compare_ledgers",),
    "config": ("LakeConfig",),
    "contamination": ("contaminate",),
    "datasets": ("Dataset", "Example", "load_sample", "read_folder", "sample_names"),
    "detector": ("Lake",),
    "errors": ("LakeError",),
    "evaluation": ("evaluate",),
    "features": ("FeatureStore",),
    "images": ("Picture", "read_picture", "read_pictures"),
    "interventions": ("switch_off", "switch_off_control", "switch_off_tests"),
    "journal": ("Journal",),
    "prompts": ("PromptEnsemble",),
    "ray_engine": ("RayEngine",),
    "rewording": ("wording_sensitivity",),
    "robustness": ("score_stability",),
    "scoring": ("ImageScore",),
    "selection": ("Selection",),
    "wording": ("prompt_table", "reworded", "text_map"),
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
    "ablate",
    "compare_ledgers",
    "contaminate",
    "evaluate",
    "load_sample",
    "open_backbone",
    "patch_in",
    "prompt_table",
    "read_folder",
    "read_picture",
    "read_pictures",
    "reworded",
    "sample_names",
    "score_stability",
    "switch_off",
    "switch_off_control",
    "switch_off_tests",
    "text_map",
    "wording_sensitivity",
]


def __getattr__(name: str) -> Any:
    """Imports a public name when it is first used, so that `lake --help` need not wait for the networks."""
    if name == "__version__":
        return import_module(f"{__name__}.version").package_version()
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
