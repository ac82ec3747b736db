"""A backbone's spec, as people write it, to an open_clip model with its tokenizer and its own preprocessing.

    lake-cnn, lake-vit                    shipped with LAKE Explorer
    NAME:TAG                              an open_clip model and pretrained tag, from the hub or its cache
    hf-hub:ORG/REPO                       any open_clip repository of the hub
    local-dir:PATH                        a folder with open_clip_config.json and weights
    checkpoint:WEIGHTS@CONFIG             a weights file and its open_clip_config.json

Nothing is ever guessed about preprocessing or the activation function, and weights are never unpickled freely:
safetensors, or PyTorch files read with `weights_only=True`.
"""

import difflib
import hashlib
import logging
import os
import socket
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import open_clip
from huggingface_hub import constants as hub_constants
from huggingface_hub import try_to_load_from_cache
from huggingface_hub.errors import HFValidationError
from pydantic import BaseModel, ConfigDict, ValidationError
from torch import Tensor

from lake_core.backbones.model_configs import read_config
from lake_core.config import Normalise, Recommended
from lake_core.data.assets import assets_folder
from lake_core.errors import BackboneError
from lake_core.types import Site

SHIPPED = ("lake-cnn", "lake-vit")
DEFAULT_BACKBONE = "lake-cnn"

_PREPROCESSING = ("mean", "std", "interpolation", "resize_mode")
_WEIGHTS = (".safetensors", ".bin", ".pt", ".pth")
_HUB_TIMEOUT_S = 3.0
_PROXIES = ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")


class Hints(BaseModel):
    """The optional file lake.json beside a model: what was measured to suit it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    image_size: int | None = None
    layers: tuple[int, ...]
    site: Site
    normalise: Normalise = "unit"
    smooth: int = 3

    def recommended(self) -> Recommended:
        return Recommended(self.layers, self.site, self.normalise, self.smooth)


@dataclass(frozen=True)
class Opened:
    """What opening a spec gives.

    Attributes:
        model: The open_clip model, in evaluation mode, on the CPU.
        tokenize: Texts to token ids (n, context length) int64.
        preprocess: mean, std, interpolation and size as the model was trained.
        hints: Measured settings, if the model comes with them.
        notes: Sentences worth showing, such as a corrected activation function.
    """

    model: Any
    tokenize: Callable[[Sequence[str]], Tensor]
    preprocess: dict[str, Any]
    hints: Hints | None
    notes: tuple[str, ...] = ()


def open_spec(spec: str, image_size: int | None) -> Opened:
    """Opens a model by its spec.

    Args:
        spec: See the head of this file.
        image_size: Side of the square input in pixels for towers whose positions depend on it; None keeps the model's.
    Raises:
        BackboneError: with one sentence that names the spec, the reason and the remedy.
    """
    if spec in SHIPPED:
        return _open_folder(spec, assets_folder() / spec, image_size)
    scheme, colon, rest = spec.partition(":")
    if scheme == "local-dir" and rest:
        return _open_folder(spec, Path(rest).expanduser(), image_size)
    if scheme == "checkpoint" and rest:
        return _open_checkpoint(spec, rest, image_size)
    if scheme == "hf-hub" and rest:
        return _open_hub_repository(spec, rest, image_size)
    if colon and rest:
        name, _, tag = spec.rpartition(":")
        return _open_pretrained(spec, name, tag, image_size)
    if spec in open_clip.list_models():
        tags = open_clip.list_pretrained_tags_by_model(spec)
        raise BackboneError(
            f"{spec} is an architecture without weights; add a pretrained tag"
            + (f", as in {spec}:{tags[0]}." if tags else ", of which open_clip has none for it.")
        )
    raise BackboneError(
        f"{spec!r} is not a backbone: write {', '.join(SHIPPED)}, NAME:TAG as in ViT-B-16:openai, local-dir:FOLDER "
        "or checkpoint:WEIGHTS@CONFIG." + _did_you_mean(spec, [*SHIPPED, *open_clip.list_models()])
    )


def weights_mark(spec: str) -> str:
    """Sizes and times of the files that a spec names, which tell its weights from others that lay there before.

    Empty where it names none: the weights of a tag do not change.
    """
    scheme, _, rest = spec.partition(":")
    if scheme == "local-dir":
        files = sorted(Path(rest).expanduser().glob("*"))
    else:
        files = [Path(part).expanduser() for part in rest.rpartition("@")[::2]] if scheme == "checkpoint" else []
    marks = [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files if file.is_file()]
    return hashlib.sha256(repr(marks).encode()).hexdigest()[:16] if marks else ""


def cached_pretrained() -> list[str]:
    """Specs NAME:TAG whose weights lie in the hub's cache on this machine."""
    found = []
    for name, tag in open_clip.list_pretrained():
        if not name.endswith("-quickgelu") and _cached_weights(open_clip.get_pretrained_cfg(name, tag)) is not None:
            found.append(f"{name}:{tag}")
    return found


def _open_folder(spec: str, folder: Path, image_size: int | None) -> Opened:
    if not folder.is_dir():
        raise BackboneError(f"{spec}: the folder {folder} does not exist; check the path.")
    config = read_config(spec, folder / "open_clip_config.json")
    if not any(path.suffix in (".safetensors", ".bin", ".pth") for path in folder.iterdir()):
        raise BackboneError(
            f"{spec}: {folder} holds no weights; put open_clip_model.safetensors beside open_clip_config.json."
        )
    model_cfg, name = config["model_cfg"], f"local-dir:{folder}"
    model = _create(spec, name, model_cfg, force_image_size=_loading_size(model_cfg, image_size))
    return Opened(model, _tokenizer(spec, name, model_cfg), config["preprocess_cfg"], _read_hints(spec, folder))


def _open_checkpoint(spec: str, rest: str, image_size: int | None) -> Opened:
    weights_text, at, config_text = rest.rpartition("@")
    if not at:
        raise BackboneError(
            f"{spec}: a weights file alone does not say its architecture, activation function and preprocessing; "
            "write checkpoint:WEIGHTS@CONFIG with the model's open_clip_config.json."
        )
    weights, config_path = Path(weights_text).expanduser(), Path(config_text).expanduser()
    if not weights.is_file():
        raise BackboneError(f"{spec}: the weights file {weights} does not exist; check the path.")
    if weights.suffix not in _WEIGHTS:
        raise BackboneError(f"{spec}: {weights.name} is not a weights file; use one of {', '.join(_WEIGHTS)}.")
    return _open_files(spec, weights, config_path, image_size)


def _open_hub_repository(spec: str, repository: str, image_size: int | None) -> Opened:
    """From the hub's cache where the files lie there, without asking the hub; else downloaded."""
    hub_cfg = {"hf_hub": f"{repository}/"}
    try:
        config_path = try_to_load_from_cache(repository, "open_clip_config.json")
        weights = _cached_weights(hub_cfg)
    except HFValidationError:
        raise BackboneError(f"{spec}: {repository!r} is not the name of a repository; write hf-hub:ORG/REPO.") from None
    if not isinstance(config_path, str) or weights is None:
        _require_hub(spec)
        try:
            config_path = open_clip.pretrained.download_pretrained_from_hf(repository, filename="open_clip_config.json")
            weights = open_clip.download_pretrained(hub_cfg)
        except Exception as error:
            raise BackboneError(_unreachable(spec, f"the download failed ({_first_line(error)})")) from error
    return _open_files(spec, Path(weights), Path(config_path), image_size)


def _open_files(spec: str, weights: Path, config_path: Path, image_size: int | None) -> Opened:
    """Opens a weights file with its open_clip_config.json."""
    config = read_config(spec, config_path)
    model_cfg = config["model_cfg"]
    name = f"lake-checkpoint-{abs(hash((str(config_path.resolve()), config_path.stat().st_mtime_ns))):x}"
    open_clip.factory._MODEL_CONFIGS[name] = model_cfg
    model = _create(
        spec,
        name,
        model_cfg,
        pretrained=str(weights),
        force_preprocess_cfg=config["preprocess_cfg"],
        force_image_size=_loading_size(model_cfg, image_size),
    )
    return Opened(model, _tokenizer(spec, name, model_cfg), config["preprocess_cfg"], _read_hints(spec, weights.parent))


def _open_pretrained(spec: str, name: str, tag: str, image_size: int | None) -> Opened:
    known = open_clip.list_models()
    if name not in known:
        raise BackboneError(
            f"{spec}: open_clip {open_clip.__version__} has no model {name!r}; `lake models` lists what can be opened."
            + _did_you_mean(name, known)
        )
    plain = name.removesuffix("-quickgelu")
    cfg = open_clip.get_pretrained_cfg(name, tag) or open_clip.get_pretrained_cfg(plain, tag)
    if not cfg:
        tags = open_clip.list_pretrained_tags_by_model(plain)
        raise BackboneError(
            f"{spec}: {name} has no pretrained tag {tag!r}; "
            + (f"its tags are {', '.join(tags)}." if tags else "open_clip has no weights for it.")
        )
    architecture, notes = _with_right_activation(name, tag, cfg)
    weights = _cached_weights(cfg)
    if weights is None:
        _require_hub(spec)
        try:
            weights = open_clip.download_pretrained(cfg)
        except Exception as error:
            raise BackboneError(_unreachable(spec, f"the download failed ({_first_line(error)})")) from error
    preprocess = {key: cfg[key] for key in _PREPROCESSING if key in cfg}
    model_cfg = open_clip.get_model_config(architecture)
    model = _create(
        spec,
        architecture,
        model_cfg,
        pretrained=str(weights),
        force_quick_gelu=bool(cfg.get("quick_gelu", False)),
        force_preprocess_cfg=preprocess,
        force_image_size=_loading_size(model_cfg, image_size),
    )
    return Opened(model, _tokenizer(spec, architecture, model_cfg), dict(model.visual.preprocess_cfg), None, notes)


def _with_right_activation(name: str, tag: str, cfg: dict[str, Any]) -> tuple[str, tuple[str, ...]]:
    """The architecture whose activation function is the one that the tag was trained with, and a note if changed."""
    trained_with_quick = bool(cfg.get("quick_gelu", False))
    named_quick = bool((open_clip.get_model_config(name) or {}).get("quick_gelu", False))
    if trained_with_quick == named_quick:
        return name, ()
    if trained_with_quick:
        return name, (f"{tag} was trained with QuickGELU, which is used although {name} names plain GELU.",)
    plain = name.removesuffix("-quickgelu")
    if plain == name:  # the architecture itself has QuickGELU, whatever the tag leaves unsaid (roberta-ViT-B-32)
        return name, ()
    return plain, (f"{tag} was trained with plain GELU, so {plain} is used in place of {name}.",)


def _loading_size(model_cfg: dict[str, Any], image_size: int | None) -> int | None:
    """The size to force while loading: only towers with position embeddings need it (and can take it)."""
    vision = model_cfg.get("vision_cfg", {})
    is_native_resnet = isinstance(vision.get("layers"), list)
    is_convolutional = "timm_model_name" in vision and not _has_positions(vision["timm_model_name"])
    return None if is_native_resnet or is_convolutional else image_size


def _has_positions(timm_name: str) -> bool:
    return any(part in timm_name for part in ("vit", "eva", "beit", "deit")) and not timm_name.startswith("fastvit")


def _create(spec: str, name: str, model_cfg: dict[str, Any], **options: Any) -> Any:
    _refuse_foreign_network(spec, model_cfg)
    logger = logging.getLogger()
    level = logger.level
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="These pretrained weights were trained with QuickGELU")
            warnings.filterwarnings("error", message="QuickGELU mismatch")
            logger.setLevel(max(level, logging.CRITICAL))
            model = open_clip.create_model(name, weights_only=True, **options)
    except Exception as error:
        remedy = "use the configuration that the weights were trained with"
        if options.get("force_image_size"):
            remedy += f", or leave out the size {options['force_image_size']}"
        raise BackboneError(
            f"{spec}: the weights do not fit the configuration ({_first_line(error)}); {remedy}."
        ) from error
    finally:
        logger.setLevel(level)
    return model.eval().requires_grad_(False)


def _refuse_foreign_network(spec: str, model_cfg: dict[str, Any]) -> None:
    """Refuses a text tower whose code lies in its repository on the hub; others are left to open_clip."""
    name = model_cfg["text_cfg"].get("hf_model_name")
    if not name:
        return
    with suppress(ImportError, OSError):
        from transformers import AutoConfig

        try:
            AutoConfig.from_pretrained(name, trust_remote_code=False)
        except ValueError as error:
            raise BackboneError(_needs_code(spec, f"text tower {name}", error)) from error


def _tokenizer(spec: str, name: str, model_cfg: dict[str, Any]) -> Callable[[Sequence[str]], Tensor]:
    # Without a word on it transformers asks at the terminal whether to run a repository's Python.
    options = {"trust_remote_code": False} if model_cfg["text_cfg"].get("hf_tokenizer_name") else {}
    try:
        return open_clip.get_tokenizer(name, **options)
    except ImportError as error:
        raise BackboneError(
            f"{spec}: its tokenizer needs another package ({_first_line(error)}); install transformers with pip."
        ) from error
    except Exception as error:
        if "trust_remote_code" in str(error):
            raise BackboneError(_needs_code(spec, "tokenizer", error)) from error
        raise BackboneError(
            f"{spec}: its tokenizer cannot be read ({_first_line(error)}); put the tokenizer's files into the model's "
            "folder, or connect once to the hub."
        ) from error


def _read_hints(spec: str, folder: Path) -> Hints | None:
    path = folder / "lake.json"
    if not path.is_file():
        return None
    try:
        return Hints.model_validate_json(path.read_bytes())
    except ValidationError as error:
        detail = error.errors()[0]
        hook_point = ".".join(str(part) for part in detail["loc"])
        raise BackboneError(
            f"{spec}: {path} is not usable ({hook_point}: {detail['msg']}); mend or remove it."
        ) from None


def _cached_weights(cfg: dict[str, Any]) -> Path | None:
    """The weights file of a tag if it is on this machine already."""
    hub = cfg.get("hf_hub", "")
    if hub:
        repository, filename = os.path.split(hub)
        names = (filename,) if filename else ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")
        stems = {Path(name).with_suffix(".safetensors").name for name in names}
        for name in (*sorted(stems), *names):
            path = try_to_load_from_cache(repository, name)
            if isinstance(path, str):
                return Path(path)
        return None
    path = Path("~/.cache/clip").expanduser() / os.path.basename(cfg.get("url", ""))
    return path if path.is_file() else None


def _require_hub(spec: str) -> None:
    """Fails within seconds, not after minutes of retries, where the hub cannot be reached."""
    if hub_constants.HF_HUB_OFFLINE:
        raise BackboneError(_unreachable(spec, "HF_HUB_OFFLINE is set"))
    proxy = next((os.environ[name] for name in _PROXIES if os.environ.get(name)), "")
    first_hop = urlparse(proxy if "//" in proxy else f"//{proxy}") if proxy else urlparse(hub_constants.ENDPOINT)
    port = first_hop.port or (80 if first_hop.scheme == "http" else 443)
    try:
        socket.create_connection((first_hop.hostname or "", port), timeout=_HUB_TIMEOUT_S).close()
    except OSError:
        what = f"the proxy {first_hop.hostname}" if proxy else first_hop.hostname
        raise BackboneError(_unreachable(spec, f"{what} cannot be reached")) from None


def _needs_code(spec: str, what: str, error: Exception) -> str:
    return (
        f"{spec}: its {what} needs code that transformers does not have ({_first_line(error)}); a model's own Python "
        "is never run, so use a model of an architecture that transformers knows."
    )


def _unreachable(spec: str, reason: str) -> str:
    return (
        f"{spec}: the weights are not on this machine and {reason}; connect to the internet once, or copy the model "
        "here and open it as local-dir:FOLDER."
    )


def _did_you_mean(text: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(text, known, n=1, cutoff=0.6)
    return f" Did you mean {close[0]}?" if close else ""


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    first = " ".join(lines[:2]) if lines else type(error).__name__
    return first if len(first) <= 200 else first[:197] + "..."
