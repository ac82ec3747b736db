"""What a report does not prove, in sentences that claim no more than was measured."""

from lake_core.backbones.catalogue import UNTUNED
from lake_core.backbones.registry import SHIPPED
from lake_core.reports.content import Report
from lake_core.sentences import sentence

_OF_MODEL = {
    "lake-cnn": (
        "The defaults of lake-cnn were chosen on five real data sets, so their mean image AUROC with 4 normal images, "
        "0.873 (random neurons 0.796), is optimistic; on seven others it was 0.69 (random neurons 0.70), with the text "
        "part before.",
        "The text part of lake-cnn judges damage weakly: a second opinion.",
    ),
    "lake-vit": ("lake-vit was trained with synthetic defects, so it cannot support claims about latent knowledge.",),
}


def limits(report: Report) -> list[str]:
    """The limits of this analysis, the general ones first."""
    lake = report.lake
    return [
        "A score says how far an image's patches are from those of the normal images, in the selected neurons. Whether "
        "the difference is a defect is for a person to say.",
        "High variance is a ranking, not a cause: that a neuron is selected does not prove that it recognises "
        "anything. The random control says whether other neurons would have done as well on these images.",
        "The contributions add up to the score exactly. A neuron with a large contribution differs most from its value "
        "in the nearest normal patch; whether the network uses that difference is another question.",
        f"A value of 1 on the visual and on the text map is the {lake.config.calibration_percentile} of normal "
        "patches, not their maximum: many good images have a patch above 1. The threshold decides, on the fused map.",
        _of_threshold(report),
        "With a single normal image, or normal images that hide a defect, threshold and maps mean little."
        + (" Here there is a single one." if len(lake.normals_) == 1 else ""),
        *_OF_MODEL.get(lake.backbone.spec, () if lake.backbone.spec in SHIPPED else (UNTUNED,)),
        *map(sentence, lake.memory_bank_.warnings),
        *report.notes,
    ]


def _of_threshold(report: Report) -> str:
    if report.lake.own_threshold is None:
        return "The threshold is from the normal images alone; with other normal images it may be otherwise."
    return (
        "The threshold was set by hand. If these test images were looked at for it, what is counted with it is "
        "optimistic."
    )
