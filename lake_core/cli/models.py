"""What `lake models` prints: the backbones that can be opened, and which are on this machine."""

from collections.abc import Iterator

import open_clip

from lake_core.backbones.registry import DEFAULT_BACKBONE, SHIPPED, cached_pretrained
from lake_core.data.samples import assets_folder

ABOUT = {
    "lake-cnn": "ImageNet EfficientNet-Lite2, frozen, with a small text tower; never saw a defect",
    "lake-vit": "our own small ViT, distilled and trained with synthetic defects: for comparison, supports no claim "
    "about latent knowledge",
}
_FORMS = {
    "NAME:TAG": "an open_clip model and its pretrained tag, as in ViT-B-16:openai",
    "hf-hub:ORG/REPO": "an open_clip repository of the Hugging Face hub",
    "local-dir:FOLDER": "a folder with open_clip_config.json, open_clip_model.safetensors and the tokenizer's files",
    "checkpoint:WEIGHTS@CONFIG": "a weights file and its open_clip_config.json, as in checkpoint:/m/b16.pt@/m/b16.json",
}


def lines(everything: bool) -> Iterator[str]:
    """The lines to print.

    Args:
        everything: List every NAME:TAG of open_clip's, not only those whose weights are here.
    """
    yield "Shipped with LAKE Explorer:"
    for name in SHIPPED:
        here = any((assets_folder() / name).glob("*.safetensors"))
        marks = ("default" if name == DEFAULT_BACKBONE else "", "" if here else "MISSING: install again")
        remarks = "".join(f" ({mark})" for mark in marks if mark)
        yield f"  {name:<10}{ABOUT[name]}{remarks}"

    cached = cached_pretrained()
    yield ""
    yield "From open_clip, with weights on this machine:"
    yield from (f"  {spec}" for spec in cached)
    if not cached:
        yield "  none yet; opening NAME:TAG, as in ViT-B-16:openai, downloads its weights once"
    if everything:
        yield ""
        yield "From open_clip, all (* on this machine):"
        for name, tag in open_clip.list_pretrained():
            spec = f"{name}:{tag}"
            yield f"{'*' if spec in cached else ' '} {spec}"

    yield ""
    yield "Ways to write a backbone:"
    yield from (f"  {form:<27}{meaning}" for form, meaning in _FORMS.items())
    if not everything:
        yield ""
        yield "`lake models --all` lists every NAME:TAG."
