"""A detector as a notebook shows it."""

from typing import TYPE_CHECKING

from lake_core.sentences import sentence
from lake_core.visualization.notebook import facts

if TYPE_CHECKING:
    from lake_core.detector.lake import Lake


def lake_html(lake: "Lake") -> str:
    """Model and parameters, and once it is fitted what was learned."""
    config = lake.config
    given = [
        ("model", lake.backbone.spec),
        ("object", config.object_name),
        ("layers", ", ".join(map(str, config.layers))),
        ("neurons", f"{', '.join(map(str, config.ks))} of {config.site} a layer, by {config.criterion}"),
        ("fusion weight", config.fusion_weight),
    ]
    if not hasattr(lake, "memory_bank_"):
        return facts("Lake, not fitted", given, ["It has seen no normal image yet: call fit."])
    selected = [(f"layer {layer}", one.kept) for layer, one in lake.selection_.items()]
    threshold = (
        f"{lake.threshold_:.3f}, {'set by hand' if lake.own_threshold is not None else 'from the normal images'}"
    )
    learned = [("normal images", len(lake.normals_)), *selected, ("threshold", threshold)]
    return facts("Lake, fitted", [*given, *learned], list(map(sentence, lake.memory_bank_.warnings)))
