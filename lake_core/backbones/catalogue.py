"""The few models of open_clip that are offered by name, with what is known of them before they are downloaded."""

from typing import NamedTuple

from lake_core.config import FitConfig, WeightConfig


class Offered(NamedTuple):
    """A model of open_clip that is worth a try.

    Attributes:
        spec: NAME:TAG, as for `open_backbone`.
        title: Its name in short.
        about: What it is, in one sentence.
        licence: Of the weights, as their repository on the hub states it.
        n_megabytes: Size of the download.
    """

    spec: str
    title: str
    about: str
    licence: str
    n_megabytes: int


# Licence: the field "license" of the model card in the tag's repository on huggingface.co (`hf_hub` of open_clip's
# tag); those of OpenAI's weights as in timm/vit_base_patch32_clip_224.openai, their sister. Size: of
# open_clip_model.safetensors there, as the repository lists it, for SigLIP, MobileCLIP and EVA02; for OpenAI's two the
# number of parameters times 4 bytes. A test counts the parameters of all five.
OFFERED = (
    Offered("ViT-B-16:openai", "CLIP-B/16", "OpenAI's CLIP with 16-pixel patches, at 224 pixels.", "Apache-2.0", 598),
    Offered(
        "ViT-L-14-336:openai",
        "CLIP-L/14@336",
        "OpenAI's largest CLIP, at 336 pixels.",
        "Apache-2.0",
        1712,
    ),
    Offered(
        "ViT-B-16-SigLIP:webli",
        "SigLIP-B/16",
        "Google's SigLIP, trained with a sigmoid loss; its tokenizer needs transformers.",
        "Apache-2.0",
        813,
    ),
    Offered(
        "MobileCLIP-S1:datacompdr",
        "MobileCLIP-S1",
        "Apple's small convolutional CLIP; its licence allows research only.",
        "Apple AMLR",
        340,
    ),
    Offered(
        "EVA02-B-16:merged2b_s8b_b131k",
        "EVA02-B/16",
        "BAAI's EVA-02-CLIP with gated MLPs, at 224 pixels; stored in half precision.",
        "MIT",
        299,
    ),
)

UNTUNED = (
    f"Defaults not tuned for this model: K = {FitConfig.top_k} and w = {WeightConfig.fusion_weight} are the paper's; "
    "layer and site follow a rule of ours, as the paper's are not clear to us."
)
"""What is said of every model that comes without measured settings (docs/method.md, sections 1 and 7)."""

_BY_SPEC = {one.spec: one for one in OFFERED}


def offered(spec: str) -> Offered | None:
    """The entry of a spec, if it is one of those offered."""
    return _BY_SPEC.get(spec)
