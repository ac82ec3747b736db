"""How an analysis is repeated: as a command, and exactly in Python."""

import shlex
from collections.abc import Sequence
from dataclasses import fields

from lake_core.backbones.backbone import Backbone
from lake_core.backbones.weights import name_without_path
from lake_core.config import LakeConfig
from lake_core.detector.lake import Lake
from lake_core.reports.content import Folders

_OPTIONS = ("layers", "site", "criterion", "top_k", "memory_bank_size", "seed", "fusion_weight", "object_name")
"""Parameters that `lake score` has an option for."""
_NAMES = {"object_name": "object"}


def command(lake: Lake, folders: Folders) -> str:
    """The command line that scores the same images with the same model and parameters."""
    backbone, config = lake.backbone, lake.config
    words = ["lake", "score", "--normal", folders.normal, "--test", folders.test]
    words += ["--model", name_without_path(backbone.spec)]
    for name in _OPTIONS:
        value = getattr(config, name)
        if value is not None:
            text = ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
            words += [f"--{_NAMES.get(name, name).replace('_', '-')}", text]
    if backbone.takes_any_size:
        words += ["--image-size", str(backbone.input_size[0])]
    words += ["--resize", backbone.resize, "--device", backbone.device.type]
    return shlex.join([*words, "--out", "results", "--report", "report.html"])


def without_option(lake: Lake) -> list[str]:
    """What of the analysis the command cannot say, and Python can: names of parameters with other values than usual."""
    usual = LakeConfig().resolved(lake.backbone.recommended)
    names = [f.name for f in fields(LakeConfig) if f.name not in _OPTIONS]
    changed = [name for name in names if getattr(lake.config, name) != getattr(usual, name)]
    return changed if lake.own_threshold is None else [*changed, "threshold"]


def python(lake: Lake, folders: Folders, image: str | None) -> str:
    """Python that fits the same detector and scores one image, or only fits it.

    Args:
        image: Path of a test image below its folder.
    """
    usual = LakeConfig()
    changed = [f.name for f in fields(LakeConfig) if getattr(lake.config, f.name) != getattr(usual, f.name)]
    parameters = [f"{name}={_value(getattr(lake.config, name))}" for name in changed]
    lines = [
        "from pathlib import Path",
        "",
        "import lake_core as lk",
        "",
        f"backbone = lk.open_backbone({', '.join(_opening(lake.backbone))})",
        *_call("config = lk.LakeConfig", parameters),
        "normal, test = " + ", ".join(f"Path({folders.below or one!r})" for one in (folders.normal, folders.test)),
        *_call("names = ", [repr(one.name) for one in lake.normals_], "[]"),
        "lake = lk.Lake(backbone, config).fit([normal / name for name in names])",
    ]
    if lake.own_threshold is not None:
        lines.append(f"lake = lake.with_threshold({lake.own_threshold!r})")
    if image is not None:
        lines += [f"result = lake.explain(test / {image!r})", "print(result.score, result.threshold)"]
    return "\n".join(lines)


def _opening(backbone: Backbone) -> list[str]:
    size = [f"image_size={backbone.input_size[0]}"] if backbone.takes_any_size else []
    return [
        repr(name_without_path(backbone.spec)),
        *size,
        f"resize={backbone.resize!r}",
        f"device={backbone.device.type!r}",
    ]


def _call(start: str, arguments: Sequence[str], brackets: str = "()") -> list[str]:
    """A call or list with an argument a line."""
    return [f"{start}{brackets[0]}", *(f"    {argument}," for argument in arguments), brackets[1]]


def _value(value: object) -> str:
    """Python of a parameter's value; a prompt ensemble is `lk.PromptEnsemble(...)`."""
    text = repr(value)
    return f"lk.{text}" if text.startswith("PromptEnsemble(") else text
