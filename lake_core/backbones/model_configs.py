"""The open_clip_config.json of a model: what it must hold, and the keys and types of values that it may hold.

A configuration comes from strangers, and open_clip hands parts of it on to timm and transformers, which run a model's
own Python where they are told to. So nothing passes but the fields of open_clip's own configurations, and names of
networks that these libraries have the code for.
"""

import json
import re
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Annotated, Any, get_type_hints

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError, create_model

from lake_core.backbones.libraries import open_clip, timm
from lake_core.data.labels import printable
from lake_core.errors import BackboneError

_HUB_NAME = re.compile(r"(?:\w[\w.-]*/)?\w[\w.-]*", re.ASCII)
_TIMM_NAME = re.compile(r"\w+(?:\.\w+)?", re.ASCII)


def _known_to_timm(name: str) -> str:
    if not _TIMM_NAME.fullmatch(name) or not timm.is_model(name):
        raise ValueError("it is not the name of a network that timm has")
    return name


def _on_the_hub(name: str) -> str:
    if name and not _HUB_NAME.fullmatch(name):
        raise ValueError("it is not the name of a repository of the hub, as in ORG/REPO")
    return name


class _Part(BaseModel):
    """Refuses keys that it does not know, and values of another type."""

    model_config = ConfigDict(extra="forbid", strict=True, protected_namespaces=())


class _Tokenizer(_Part):
    clean: str | None = None
    strip_sep_token: bool | None = None
    language: str | None = None


class _Norm(_Part):
    eps: float | None = None


class _Activation(_Part):
    approximate: str | None = None


_NARROWER: dict[str, Any] = {
    "tokenizer_kwargs": _Tokenizer,
    "norm_kwargs": _Norm,
    "act_kwargs": _Activation,
    "timm_model_name": Annotated[str, AfterValidator(_known_to_timm)],
    "hf_model_name": Annotated[str, AfterValidator(_on_the_hub)],
    "hf_tokenizer_name": Annotated[str, AfterValidator(_on_the_hub)],
}


def _part_of(cfg: type) -> type[_Part]:
    """What the fields of one of open_clip's dataclasses may be; any may be null or missing."""
    assert is_dataclass(cfg)
    hints = get_type_hints(cfg)
    named: dict[str, Any] = {f.name: (_NARROWER.get(f.name, hints[f.name]) | None, None) for f in fields(cfg)}
    return create_model(cfg.__name__, __base__=_Part, **named)


_Vision, _Text = _part_of(open_clip.CLIPVisionCfg), _part_of(open_clip.CLIPTextCfg)
_Multimodal, _Preprocess = _part_of(open_clip.coca_model.MultimodalCfg), _part_of(open_clip.transform.PreprocessCfg)


_MODEL_FIELDS: dict[str, Any] = {
    "embed_dim": (int, ...),
    "vision_cfg": (_Vision, ...),
    "text_cfg": (_Text, ...),
    "multimodal_cfg": (_Multimodal | None, None),
    "quick_gelu": (bool | None, None),
    "custom_text": (bool | None, None),
    "init_logit_scale": (float | None, None),
    "init_logit_bias": (float | None, None),
    "nonscalar_logit_scale": (bool | None, None),
}
_Model = create_model("ModelCfg", __base__=_Part, **_MODEL_FIELDS)
_ALLOWED: dict[str, type[_Part]] = {"model_cfg": _Model, "preprocess_cfg": _Preprocess}


def read_config(spec: str, path: Path) -> dict[str, Any]:
    """An open_clip_config.json with an explicit architecture and explicit preprocessing.

    Raises:
        BackboneError: if something is missing, or something is there that is not known to be harmless.
    """
    if not path.is_file():
        raise BackboneError(f"{spec}: the configuration {path} does not exist; it must be an open_clip_config.json.")
    try:
        config: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BackboneError(f"{spec}: {path} cannot be read ({error.strerror}); check its permissions.") from None
    except RecursionError:
        raise BackboneError(
            f"{spec}: {path} is nested too deeply to be a configuration; use the model's own."
        ) from None
    except ValueError as error:  # no UTF-8, no JSON, or a number of thousands of digits
        raise BackboneError(f"{spec}: {path} is not valid JSON ({error}); mend the file.") from None
    model_cfg = config.get("model_cfg") if isinstance(config, dict) else None
    parts = [model_cfg.get(key) for key in ("vision_cfg", "text_cfg")] if isinstance(model_cfg, dict) else [None]
    if (
        not isinstance(model_cfg, dict)
        or "embed_dim" not in model_cfg
        or not all(isinstance(part, dict) for part in parts)
    ):
        raise BackboneError(
            f"{spec}: {path} has no model_cfg with embed_dim, vision_cfg and text_cfg; use the file that open_clip "
            "writes when a model is pushed to the hub."
        )
    preprocess: Any = config.get("preprocess_cfg")
    missing = [key for key in ("mean", "std") if not isinstance(preprocess, dict) or key not in preprocess]
    if missing:
        raise BackboneError(
            f"{spec}: {path} does not say the preprocessing ({' and '.join(missing)} missing in preprocess_cfg); add "
            "the values that the model was trained with, a guess would silently change every score."
        )
    for key, lowest in (("mean", None), ("std", 0)):
        values = preprocess[key]
        is_rgb = isinstance(values, list) and [type(value) in (int, float) for value in values] == [True] * 3
        if not is_rgb or (lowest is not None and min(values) <= lowest):
            raise BackboneError(
                f"{spec}: {key} in preprocess_cfg of {path} is {values!r}; it must be three numbers, for red, green "
                "and blue" + (", above 0." if lowest is not None else ".")
            )
    _refuse_unknown(spec, path, config)
    return config


def least_parameters(model_cfg: dict[str, Any]) -> int:
    """How many numbers a network has at least, as its configuration says: those of its attention and of its words.

    Networks of timm and of transformers count as 0: their sizes are these libraries' own.
    """
    vision, text = model_cfg["vision_cfg"], model_cfg["text_cfg"]
    found = 0 if vision.get("timm_model_name") else _of_attention(vision, width=768)
    if not text.get("hf_model_name"):
        found += _of_attention(text, width=512) + (text.get("vocab_size") or 0) * (text.get("width") or 512)
    return found


def _of_attention(cfg: dict[str, Any], width: int) -> int:
    """Four square matrices a layer; 0 for a convolutional network, whose layers are a list."""
    layers = cfg.get("layers", 12)
    return layers * 4 * (cfg.get("width") or width) ** 2 if isinstance(layers, int) else 0


def _refuse_unknown(spec: str, path: Path, config: dict[str, Any]) -> None:
    for part, allowed in _ALLOWED.items():
        try:
            allowed.model_validate_json(json.dumps(config[part]))
        except ValidationError as error:
            first = error.errors()[0]
            key, value = _found_at((part, *first["loc"]), config)
            if first["type"] == "extra_forbidden":
                raise BackboneError(
                    f"{spec}: {path} has {key:.200}, which is not among the keys that are read: it could make a "
                    "library run a model's own Python, which is never done; remove it if the model works without."
                ) from None
            reason = str(first["msg"]).removeprefix("Value error, ")
            raise BackboneError(
                f"{spec}: {key:.200} in {path} is {value!r:.80}, which is not accepted ({reason}); mend the file."
            ) from None


def _found_at(loc: tuple[int | str, ...], config: dict[str, Any]) -> tuple[str, Any]:
    """The dotted key of pydantic's location, without what pydantic adds to it, and its value in the configuration."""
    names, value = [], config
    for step in loc:
        if not isinstance(value, dict) or step not in value:
            break
        names.append(str(step))
        value = value[str(step)]
    return printable(".".join(names)), value
