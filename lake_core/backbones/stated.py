"""What a model's tag or files say of it, read from there and not from the network that was made of them."""

from pathlib import Path
from typing import Any, NamedTuple

from lake_core.backbones.hub import CONFIG_NAME, hub_file
from lake_core.backbones.libraries import open_clip
from lake_core.backbones.model_configs import read_config
from lake_core.backbones.registry import parse_spec, pretrained_cfg
from lake_core.data.samples import assets_folder


class Stated(NamedTuple):
    """How a model was trained, as its tag or its configuration states it.

    Attributes:
        source: Who states it, for sentences.
        quick_gelu: Whether with QuickGELU; with GELU otherwise.
        image_approximate, text_approximate: The approximation of GELU in each tower: "none" or "tanh".
        mean, std: Of the input's three channels, on the scale 0..1.
        interpolation: With which images were resized.
    """

    source: str
    quick_gelu: bool
    image_approximate: str
    text_approximate: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    interpolation: str


def stated(spec: str) -> Stated:
    """What the tag or the files of a spec say.

    Raises:
        BackboneError: if they cannot be read.
    """
    source = parse_spec(spec)
    if source.scheme == "pretrained":
        tag = pretrained_cfg(source.name, source.detail)
        model_cfg = dict(open_clip.get_model_config(source.name.removesuffix("-quickgelu")))
        model_cfg |= {"quick_gelu": tag["quick_gelu"]} if "quick_gelu" in tag else {}
        return _read(f"the tag {source.detail}", model_cfg, tag)
    match source.scheme:
        case "shipped":
            path = assets_folder() / source.name / CONFIG_NAME
        case "local-dir":
            path = Path(source.name).expanduser() / CONFIG_NAME
        case "checkpoint":
            path = Path(source.detail).expanduser()
        case _:
            path = hub_file(spec, source.name, (CONFIG_NAME,))
    config = read_config(spec, path)
    return _read(path.name, config["model_cfg"], config["preprocess_cfg"])


def _read(source: str, model_cfg: dict[str, Any], preprocess: dict[str, Any]) -> Stated:
    def approximate(tower: str) -> str:
        return str((model_cfg[tower].get("act_kwargs") or {}).get("approximate", "none"))

    return Stated(
        source,
        bool(model_cfg.get("quick_gelu", False)),
        approximate("vision_cfg"),
        approximate("text_cfg"),
        tuple(preprocess.get("mean", open_clip.OPENAI_DATASET_MEAN)),
        tuple(preprocess.get("std", open_clip.OPENAI_DATASET_STD)),
        str(preprocess.get("interpolation", "bicubic")),
    )
