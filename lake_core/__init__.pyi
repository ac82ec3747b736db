from .backbones.backbone import Backbone
from .backbones.budget import MemoryBudget
from .backbones.feature_store import FeatureStore
from .backbones.opening import Opening, open_backbone
from .config import LakeConfig
from .data.datasets import Dataset, Example, read_folder
from .data.images import InputImage, read_image, read_images
from .data.samples import load_sample, sample_names
from .detector.lake import Lake
from .detector.result import ImageResult
from .detector.selection import Selection
from .errors import BackboneError, ConfigError, DatasetError, ImageError, LakeError, NotFittedError
from .evaluation.checkpoint import Checkpoint
from .evaluation.ray_engine import RayEngine
from .evaluation.runner import evaluate
from .experiments.ablation import ablate, ablate_tests, ablation_control
from .experiments.comparison import compare_contributions
from .experiments.contamination import contaminate
from .experiments.patching import activation_patching
from .experiments.prompt_sensitivity import prompt_sensitivity
from .experiments.robustness import score_stability
from .experiments.text_similarity import phrase_map, prompt_table
from .prompts import PromptEnsemble

__all__ = [
    "Backbone",
    "BackboneError",
    "Checkpoint",
    "ConfigError",
    "Dataset",
    "DatasetError",
    "Example",
    "FeatureStore",
    "ImageError",
    "ImageResult",
    "InputImage",
    "Lake",
    "LakeConfig",
    "LakeError",
    "MemoryBudget",
    "NotFittedError",
    "Opening",
    "PromptEnsemble",
    "RayEngine",
    "Selection",
    "ablate",
    "ablate_tests",
    "ablation_control",
    "activation_patching",
    "compare_contributions",
    "contaminate",
    "evaluate",
    "load_sample",
    "open_backbone",
    "phrase_map",
    "prompt_sensitivity",
    "prompt_table",
    "read_folder",
    "read_image",
    "read_images",
    "sample_names",
    "score_stability",
]
__version__: str
