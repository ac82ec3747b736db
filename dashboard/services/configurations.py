"""Configurations to compare: names that say what differs, pairs to begin with, one scale for all, and what each
costs."""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from dashboard.components.sidebar import SITE_NAMES
from dashboard.services import compute
from dashboard.services.compute import Analysis
from dashboard.session import Settings
from lake_core.backbones.backbone import Backbone
from lake_core.config import LakeConfig
from lake_core.criteria import criteria
from lake_core.types import Site
from lake_core.visualization.colours import ScoreScale, score_scale

LETTERS = "ABCD"


def selection_words(settings: Settings) -> str:
    """How neurons are selected: "top 100", "100 random", "all neurons"."""
    if settings.criterion == "all":
        return "all neurons"
    if settings.criterion == "random":
        return f"{settings.top_k} random"
    by = "" if settings.criterion == LakeConfig().criterion else f" by {criteria()[settings.criterion].title}"
    return f"top {settings.top_k}{by}"


def parts(settings: Settings) -> dict[str, str]:
    """What a configuration is, in words, by what it decides; settings with nothing left open."""
    layers = settings.layers or ()
    site: Site = settings.site or "mlp_hidden"
    return {
        "backbone": settings.spec,
        "size": f"{settings.image_size} px" if settings.image_size else "",
        "selection": selection_words(settings),
        "site": SITE_NAMES[site],
        "layers": f"layer{'s' * (len(layers) > 1)} {', '.join(map(str, layers))}",
        "weight": f"w = {settings.fusion_weight:.2f}",
        "object": f"“{settings.object_name or 'object'}”",
        "normalise": "lengths kept" if settings.normalise == "none" else "length 1",
        "smooth": f"averaged {settings.smooth} × {settings.smooth}" if settings.smooth != 1 else "not averaged",
        "top_q": f"mean of top {settings.top_q}" if settings.top_q > 1 else "maximum",
    }


def in_full(settings: Settings) -> str:
    """Everything about a configuration, in one line."""
    return ", ".join(word for word in parts(settings).values() if word)


def names(configurations: Sequence[Settings]) -> list[str]:
    """A name for each configuration, which says what differs among them."""
    described = [parts(settings) for settings in configurations]
    differing = [what for what in parts(Settings()) if len({words[what] for words in described}) > 1]
    # Where the backbones differ, layers, kinds and sizes differ with them as a rule: they would only make it long.
    if "backbone" in differing:
        differing = [what for what in differing if what not in ("size", "layers", "site", "normalise", "smooth")]
        if len({tuple(words[what] for what in differing) for words in described}) < len(described):
            differing = [*differing, "size", "site", "layers"]
    shown = differing or ["backbone", "selection", "site", "layers"]
    return [", ".join(words[what] for what in shown if words[what]) for words in described]


def pairs(settings: Settings, backbone: Backbone) -> dict[str, tuple[Settings, Settings]]:
    """Pairs worth a look, made from the present settings: title -> two configurations."""
    is_ranked = not criteria()[settings.criterion].is_control
    ranked = settings if is_ranked else replace(settings, criterion=LakeConfig().criterion)
    found = {
        "Selected against random": (ranked, replace(ranked, criterion="random")),
        f"Top {ranked.top_k} against all": (ranked, replace(ranked, criterion="all")),
    }
    sites: dict[Site, Settings] = {}
    for site in ("mlp_hidden", "residual_channel"):
        allowed = backbone.layers_with(site)
        layers = tuple(layer for layer in settings.layers or () if layer in allowed) or allowed[-1:]
        if layers:
            sites[site] = replace(settings, site=site, layers=layers)
    if len(sites) == 2:
        found["Hidden neurons against channels"] = (sites["mlp_hidden"], sites["residual_channel"])
    found["Seen alone against seen and read"] = (
        replace(settings, fusion_weight=0.0),
        replace(settings, fusion_weight=settings.fusion_weight or 0.3),
    )
    found["lake-cnn against lake-vit"] = (_on("lake-cnn", settings), _on("lake-vit", settings))
    return found


def _on(spec: str, settings: Settings) -> Settings:
    """The settings on a backbone: as they are if it is their own, else with what suits that backbone."""
    if settings.spec == spec:
        return settings
    return replace(settings, spec=spec, image_size=None, layers=None, site=None, normalise=None, smooth=None)


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
    scoring = compute.measured(
        analysis.key, compute.identities(workspace.tests), workspace.normals, workspace.tests
    ).seconds
    return Cost(
        store.backbone.weight_bytes,
        1000 * store.forward_seconds / store.n_forwards if store.n_forwards else None,
        compute.fitted(analysis.key, workspace.normals).seconds,
        1000 * scoring / max(len(workspace.tests), 1),
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
