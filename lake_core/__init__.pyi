from .backbones.backbone import Backbone
from .backbones.budget import MemoryBudget
from .backbones.feature_store import FeatureStore, Patches
from .backbones.opening import Opening, open_backbone
from .config import FitConfig, LakeConfig, TextConfig, WeightConfig
from .criteria.base import Criterion
from .data.datasets import Dataset, Example, read_folder
from .data.images import InputImage, read_image, read_images
from .data.samples import load_sample, sample_names
from .detector.lake import Lake
from .detector.result import ImageResult
from .detector.selection import Selection, jaccard
from .errors import BackboneError, ConfigError, DatasetError, ImageError, LakeError, NotFittedError
from .evaluation.checkpoint import Checkpoint
from .evaluation.protocol import FewShotProtocol
from .evaluation.ray_engine import RayEngine
from .evaluation.report import EvaluationReport
from .evaluation.runner import LocalEngine, evaluate, evaluate_dataset
from .experiments.ablation import ablate, ablate_tests, ablated, ablation_control
from .experiments.comparison import auroc_difference, compare_contributions, overlaps
from .experiments.contamination import contaminate
from .experiments.controls import random_control, separation, sweep_k, weight_curve
from .experiments.deletion import CurveConfig, curve, faithfulness
from .experiments.formation import formation
from .experiments.neuron_sets import RandomDraws, all_selected, selected_among, top_contributing_neurons, whole_layer
from .experiments.occlusion import occlusion
from .experiments.other_normals import other_normals
from .experiments.patching import activation_patching, causal_ablation, evidence_sources, max_scoring_patches
from .experiments.prompt_sensitivity import prompt_sensitivity
from .experiments.ranking import compare_criteria, elbow, participation_ratio
from .experiments.replacing import Targets
from .experiments.robustness import score_stability
from .experiments.selection_overlap import selection_overlap
from .experiments.text_similarity import anomalous_probability, image_probabilities, phrase_map, prompt_table
from .metrics.auroc_interval import auroc_interval
from .metrics.decision import is_anomalous
from .metrics.image_metrics import auroc, average_precision, best_f1, f1_max
from .metrics.pixel_metrics import aupro, pixel_auroc, pixel_metrics
from .neurons.activations import neuron_activations
from .neurons.attribution import AttributionConfig, neuron_attribution
from .neurons.concepts import load_concepts
from .neurons.labels import label_concepts, label_with_control
from .neurons.similarity import correlated_neurons, selected_together, sites_overlap
from .neurons.statistics import neuron_table
from .prompts import PromptEnsemble
from .sentences import sentence
from .types import HookPoint
from .visualization.microscope.view import NeuronNote

__all__ = [
    "AttributionConfig",
    "Backbone",
    "BackboneError",
    "Checkpoint",
    "ConfigError",
    "Criterion",
    "CurveConfig",
    "Dataset",
    "DatasetError",
    "EvaluationReport",
    "Example",
    "FeatureStore",
    "FewShotProtocol",
    "FitConfig",
    "HookPoint",
    "ImageError",
    "ImageResult",
    "InputImage",
    "Lake",
    "LakeConfig",
    "LakeError",
    "LocalEngine",
    "MemoryBudget",
    "NeuronNote",
    "NotFittedError",
    "Opening",
    "Patches",
    "PromptEnsemble",
    "RandomDraws",
    "RayEngine",
    "Selection",
    "Targets",
    "TextConfig",
    "WeightConfig",
    "ablate",
    "ablate_tests",
    "ablated",
    "ablation_control",
    "activation_patching",
    "all_selected",
    "anomalous_probability",
    "aupro",
    "auroc",
    "auroc_difference",
    "auroc_interval",
    "average_precision",
    "best_f1",
    "causal_ablation",
    "compare_contributions",
    "compare_criteria",
    "contaminate",
    "correlated_neurons",
    "curve",
    "elbow",
    "evaluate",
    "evaluate_dataset",
    "evidence_sources",
    "f1_max",
    "faithfulness",
    "formation",
    "image_probabilities",
    "is_anomalous",
    "jaccard",
    "label_concepts",
    "label_with_control",
    "load_concepts",
    "load_sample",
    "max_scoring_patches",
    "neuron_activations",
    "neuron_attribution",
    "neuron_table",
    "occlusion",
    "open_backbone",
    "other_normals",
    "overlaps",
    "participation_ratio",
    "phrase_map",
    "pixel_auroc",
    "pixel_metrics",
    "prompt_sensitivity",
    "prompt_table",
    "random_control",
    "read_folder",
    "read_image",
    "read_images",
    "sample_names",
    "score_stability",
    "selected_among",
    "selected_together",
    "selection_overlap",
    "sentence",
    "separation",
    "sites_overlap",
    "sweep_k",
    "top_contributing_neurons",
    "weight_curve",
    "whole_layer",
]
__version__: str
