from .backbones.backbone import Backbone, Opening, open_backbone
from .backbones.feature_store import FeatureStore
from .config import LakeConfig
from .data.datasets import Dataset, Example, load_sample, read_folder, sample_names
from .data.images import Picture, read_picture, read_pictures
from .detector.lake import Lake
from .detector.scoring import ImageScore
from .detector.selection import Selection
from .errors import LakeError
from .evaluation.checkpoint import Journal
from .evaluation.ray_engine import RayEngine
from .evaluation.runner import evaluate
from .experiments.ablation import switch_off, switch_off_control, switch_off_tests
from .experiments.comparison import compare_ledgers
from .experiments.contamination import contaminate
from .experiments.patching import ablate, patch_in
from .experiments.prompt_sensitivity import wording_sensitivity
from .experiments.robustness import score_stability
from .experiments.text_similarity import prompt_table, reworded, text_map
from .prompts import PromptEnsemble

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
__version__: str
