"""Configurations to compare: names that say what differs, pairs to begin with, one scale for all, and what each
costs."""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from dashboard.services.analysis import Analysis, fitted, patch_scores
from dashboard.settings import Settings
from dashboard.words import SITE_NAMES, k_words
from lake_core.backbones.backbone import Backbone
from lake_core.config import LakeConfig
from lake_core.criteria import criteria
from lake_core.types import SITES, Site
from lake_core.visualization.colours import ScoreScale, score_scale

LETTERS = "ABCD"
DEFAULTS = LakeConfig()
FOLLOWS_BACKBONE = ("size", "layers", "site", "normalise", "smooth")
"""What differs as a rule where the backbones differ: it would only make the names long."""


def selection_words(config: LakeConfig) -> str:
    """How neurons are selected: "top 100", "100 random", "all neurons"."""
    if config.criterion == "all":
        return "all neurons"
    if config.criterion == "random":
        return f"{k_words(config)} random"
    by = "" if config.criterion == DEFAULTS.criterion else f" by {criteria()[config.criterion].title}"
    return f"top {k_words(config)}{by}"


def parts(settings: Settings) -> dict[str, str]:
    """What a configuration is, in words, by what it decides; settings with nothing left open."""
    config = settings.config
    layers, site = config.layers or (), config.site or SITES[0]
    return {
        "backbone": settings.spec,
        "size": f"{settings.image_size} px" if settings.image_size else "",
        "selection": selection_words(config),
        "site": SITE_NAMES[site],
        "layers": f"layer{'s' * (len(layers) > 1)} {', '.join(map(str, layers))}",
        "weight": f"w = {config.fusion_weight:.2f}",
        "object": f"“{config.object_name}”",
        "prompts": "built-in prompts" if config.prompts == DEFAULTS.prompts else "own prompts",
        "normalise": "not scaled" if config.normalise == "none" else "unit length",
        "smooth": f"averaged {config.smooth} × {config.smooth}" if config.smooth != 1 else "not averaged",
        "memory_bank": f"{config.memory_bank_size} patches kept" if config.memory_bank_size else "",
        "top_q": f"mean of top {config.top_q}" if config.top_q > 1 else "maximum",
    }


def in_full(settings: Settings) -> str:
    """Everything about a configuration, in one line."""
    return ", ".join(word for word in parts(settings).values() if word)


def names(configurations: Sequence[Settings]) -> list[str]:
    """A name for each configuration, which says what differs among them."""
    described = [parts(settings) for settings in configurations]
    differing = [what for what in parts(Settings()) if len({words[what] for words in described}) > 1]
    if "backbone" in differing:
        differing = [what for what in differing if what not in FOLLOWS_BACKBONE]
        if len({tuple(words[what] for what in differing) for words in described}) < len(described):
            differing = [*differing, "size", "site", "layers"]
    shown = differing or ["backbone", "selection", "site", "layers"]
    return [", ".join(words[what] for what in shown if words[what]) for words in described]


def pairs(settings: Settings, backbone: Backbone) -> dict[str, tuple[Settings, Settings]]:
    """Pairs worth a look, made from the sidebar's settings: title -> two configurations."""
    config = settings.config
    is_control = criteria()[config.criterion].is_control
    ranked = settings.having(criterion=DEFAULTS.criterion) if is_control else settings
    found = {
        "Selected vs random": (ranked, ranked.having(criterion="random")),
        f"Top {k_words(config)} vs all": (ranked, ranked.having(criterion="all")),
    }
    at: dict[Site, Settings] = {}
    for site in SITES:
        allowed = backbone.layers_with(site)
        layers = tuple(layer for layer in config.layers or () if layer in allowed) or allowed[-1:]
        if layers:
            at[site] = settings.having(site=site, layers=layers)
    if len(at) == len(SITES):
        found["MLP hidden vs residual channel"] = (at["mlp_hidden"], at["residual_channel"])
    fused = settings if config.fusion_weight else settings.having(fusion_weight=DEFAULTS.fusion_weight)
    found["Visual alone vs fused"] = (settings.having(fusion_weight=0.0), fused)
    found["lake-cnn vs lake-vit"] = (_on("lake-cnn", settings), _on("lake-vit", settings))
    return found


def _on(spec: str, settings: Settings) -> Settings:
    """The settings on a backbone: as they are if it is their own, else with what suits that backbone."""
    if settings.spec == spec:
        return settings
    return replace(settings.having(layers=None, site=None, normalise=None, smooth=None), spec=spec, image_size=None)


class Cost(NamedTuple):
    """What a configuration takes, measured on this server.

    Attributes:
        weight_bytes: Of the network, image and text tower.
        forward_ms: Of the network per image, over all images it has run on; None where it has run on none.
        fit_seconds: Of learning from the normal images, from stored activations.
        score_ms: Of scoring one test image, from stored activations.
        memory_bank_bytes: Of the normal patches that are kept to compare with.
        activation_bytes: Of the stored activations of one image that the detector reads.
    """

    weight_bytes: int
    forward_ms: float | None
    fit_seconds: float
    score_ms: float
    memory_bank_bytes: int
    activation_bytes: int


def cost(analysis: Analysis) -> Cost:
    """What the configuration of an analysis takes, as measured when it was computed."""
    store, workspace, lake = analysis.lake.store, analysis.workspace, analysis.lake
    return Cost(
        store.backbone.weight_bytes,
        1000 * store.forward_seconds / store.n_forwards if store.n_forwards else None,
        fitted(analysis.key, workspace).seconds,
        1000 * patch_scores(analysis.key, workspace).seconds / max(len(workspace.tests), 1),
        sum(layer.bank.numel() * layer.bank.element_size() for layer in lake.memory_bank_.layers),
        store.bytes_per_image(lake.hook_points),
    )


def shared_scales(analyses: Sequence[Analysis]) -> list[ScoreScale]:
    """For each of several configurations its scale, the colours of all being the same; the thresholds remain their
    own."""
    thresholds = [analysis.lake.threshold_ for analysis in analyses]
    maps = [score.map for analysis in analyses for score in analysis.scores]
    common = replace(score_scale(maps, max(thresholds)), fades_at=min(thresholds))
    return [replace(common, threshold=threshold) for threshold in thresholds]


def without_threshold(scale: ScoreScale) -> ScoreScale:
    """The scale for a legend that stands for several thresholds, and so shows none."""
    return replace(scale, threshold=0.0)
