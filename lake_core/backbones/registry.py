"""The names by which people ask for a backbone, read and checked before anything is opened.

lake-cnn, lake-vit                    shipped with LAKE Explorer
NAME:TAG                              an open_clip model and pretrained tag, from the hub or its cache
hf-hub:ORG/REPO                       any open_clip repository of the hub
local-dir:FOLDER                      a folder with open_clip_config.json and weights
checkpoint:WEIGHTS@CONFIG             a weights file and its open_clip_config.json
"""

import difflib
import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from lake_core.backbones.hub import cached_file, weights_on_hub
from lake_core.backbones.libraries import open_clip
from lake_core.errors import BackboneError

SHIPPED = ("lake-cnn", "lake-vit")
DEFAULT_BACKBONE = "lake-cnn"


class Source(NamedTuple):
    """What a spec names.

    Attributes:
        scheme: How it is opened.
        name: A shipped name, an open_clip model, a repository, a folder, or a weights file.
        detail: The pretrained tag, or the configuration of a weights file.
    """

    scheme: Literal["shipped", "pretrained", "hf-hub", "local-dir", "checkpoint"]
    name: str
    detail: str = ""


def parse_spec(spec: str) -> Source:
    """What a spec names; see the head of this file.

    Raises:
        BackboneError: if it is none, with the nearest name that is one.
    """
    scheme, colon, rest = spec.partition(":")
    if spec in SHIPPED:
        return Source("shipped", spec)
    if scheme == "local-dir" and rest:
        return Source("local-dir", rest)
    if scheme == "hf-hub" and rest:
        return Source("hf-hub", rest)
    if scheme == "checkpoint" and rest:
        return _checkpoint(spec, rest)
    if colon and rest:
        return _pretrained(spec)
    if spec in open_clip.list_models():
        tags = open_clip.list_pretrained_tags_by_model(spec)
        raise BackboneError(
            f"{spec} is an architecture without weights; add a pretrained tag"
            + (f", as in {spec}:{tags[0]}." if tags else ", of which open_clip has none for it.")
        )
    raise BackboneError(
        f"{spec!r} is not a backbone: write {', '.join(SHIPPED)}, NAME:TAG as in ViT-B-16:openai, hf-hub:ORG/REPO, "
        "local-dir:FOLDER or checkpoint:WEIGHTS@CONFIG." + _did_you_mean(spec, [*SHIPPED, *open_clip.list_models()])
    )


def pretrained_cfg(name: str, tag: str) -> dict[str, Any]:
    """What open_clip knows of a pretrained tag: where its weights lie and how they were trained; empty if nothing."""
    plain = name.removesuffix("-quickgelu")
    return dict(open_clip.get_pretrained_cfg(name, tag) or open_clip.get_pretrained_cfg(plain, tag) or {})


def cached_pretrained() -> list[str]:
    """Specs NAME:TAG whose weights lie in the hub's cache on this machine."""
    return [
        f"{name}:{tag}"
        for name, tag in open_clip.list_pretrained()
        if not name.endswith("-quickgelu") and cached_file(*weights_on_hub(pretrained_cfg(name, tag))) is not None
    ]


def weights_mark(spec: str) -> str:
    """Sizes and times of the files that a spec names, which tell its weights from others that lay there before.

    Empty where it names none: the weights of a tag do not change.
    """
    scheme, _, rest = spec.partition(":")
    if scheme == "local-dir":
        files = sorted(own_path(rest).glob("*"))
    else:
        files = [own_path(part) for part in rest.rpartition("@")[::2]] if scheme == "checkpoint" else []
    marks = [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files if os.path.isfile(file)]
    return hashlib.sha256(repr(marks).encode()).hexdigest()[:16] if marks else ""


def own_path(text: str) -> Path:
    """A path as somebody wrote it, `~` standing for a user's home where there is such a user."""
    return Path(os.path.expanduser(text))


def _checkpoint(spec: str, rest: str) -> Source:
    weights, at, config = rest.rpartition("@")
    if not at:
        raise BackboneError(
            f"{spec}: a weights file alone does not say its architecture, activation function and preprocessing; "
            "write checkpoint:WEIGHTS@CONFIG with the model's open_clip_config.json."
        )
    return Source("checkpoint", weights, config)


def _pretrained(spec: str) -> Source:
    name, _, tag = spec.rpartition(":")
    known = open_clip.list_models()
    if name not in known:
        raise BackboneError(
            f"{spec}: open_clip {open_clip.__version__} has no model {name!r}; `lake models` lists what can be opened."
            + _did_you_mean(name, known)
        )
    if not pretrained_cfg(name, tag).get("hf_hub"):
        tags = open_clip.list_pretrained_tags_by_model(name.removesuffix("-quickgelu"))
        raise BackboneError(
            f"{spec}: {name} has no pretrained tag {tag!r} on the hub; "
            + (f"its tags are {', '.join(tags)}." if tags else "open_clip has no weights for it.")
        )
    return Source("pretrained", name, tag)


def _did_you_mean(text: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(text, known, n=1, cutoff=0.6)
    return f" Did you mean {close[0]}?" if close else ""
