"""A model's files to an open_clip model with its tokenizer and its own preprocessing.

Nothing is ever guessed about preprocessing or the activation function, and weights are never unpickled freely:
safetensors, or PyTorch files read with `weights_only=True`. Nothing is registered with open_clip.
"""

import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError
from torch import Tensor

from lake_core.backbones.hub import CONFIG_NAME, WEIGHTS_NAMES, hub_file, weights_on_hub
from lake_core.backbones.intact import check_finite, check_shipped
from lake_core.backbones.libraries import open_clip
from lake_core.backbones.model_configs import least_parameters, read_config
from lake_core.backbones.positions import fit_positions
from lake_core.backbones.registry import SHIPPED, Source, own_path, parse_spec, pretrained_cfg
from lake_core.config import Normalise, Recommended
from lake_core.data.samples import assets_folder
from lake_core.errors import BackboneError, first_line
from lake_core.types import Site

Tokenize = Callable[[Sequence[str]], Tensor]

_PREPROCESSING = ("mean", "std", "interpolation", "resize_mode")
_WEIGHTS = (".safetensors", ".bin", ".pt", ".pth")


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
class Loaded:
    """A model as its files give it.

    Attributes:
        model: The open_clip model, in evaluation mode, on the CPU.
        tokenize: Texts to token ids (n, context length) int64.
        preprocess: mean, std, interpolation and size as the model was trained.
        hints: Measured settings, if the model comes with them.
        notes: Sentences worth showing, such as a corrected activation function.
    """

    model: Any
    tokenize: Tokenize
    preprocess: dict[str, Any]
    hints: Hints | None
    notes: tuple[str, ...] = ()


def load(spec: str, image_size: int | None) -> Loaded:
    """Load a model by its spec.

    Args:
        spec: See `registry`.
        image_size: Side of the square input in pixels for towers whose positions depend on it; None keeps the model's.
    Raises:
        BackboneError: one sentence that names the spec, the reason and the remedy.
    """
    try:
        return _loaded(spec, parse_spec(spec), image_size)
    except OSError as error:  # folders that may not be entered, names that are too long
        raise BackboneError(
            f"{spec}: its files cannot be read ({error.strerror or error}); check the path and its permissions."
        ) from None


def _loaded(spec: str, source: Source, image_size: int | None) -> Loaded:
    match source.scheme:
        case "shipped":
            folder = assets_folder() / source.name
            check_shipped(source.name, folder / WEIGHTS_NAMES[0])
            return _from_folder(spec, folder, image_size)
        case "local-dir":
            return _from_folder(spec, own_path(source.name), image_size)
        case "checkpoint":
            return _from_files(spec, own_path(source.name), own_path(source.detail), image_size)
        case "hf-hub":
            config = hub_file(spec, source.name, (CONFIG_NAME,))
            return _from_files(spec, hub_file(spec, source.name, WEIGHTS_NAMES), config, image_size)
        case "pretrained":
            return _from_tag(spec, source.name, source.detail, image_size)


def architecture_of(name: str, tag: str) -> tuple[str, tuple[str, ...]]:
    """The architecture with the activation function that a tag was trained with, and a note where the name differs."""
    trained_with_quick = bool(pretrained_cfg(name, tag).get("quick_gelu", False))
    named_quick = bool((open_clip.get_model_config(name) or {}).get("quick_gelu", False))
    if trained_with_quick == named_quick:
        return name, ()
    if trained_with_quick:
        return name, (f"{tag} was trained with QuickGELU, which is used although {name} names plain GELU.",)
    plain = name.removesuffix("-quickgelu")
    if plain == name:  # the architecture itself has QuickGELU, whatever the tag leaves unsaid (roberta-ViT-B-32)
        return name, ()
    return plain, (f"{tag} was trained with plain GELU, so {plain} is used in place of {name}.",)


def _from_folder(spec: str, folder: Path, image_size: int | None) -> Loaded:
    if not folder.is_dir():
        raise BackboneError(f"{spec}: the folder {folder} does not exist; check the path.")
    config = read_config(spec, folder / CONFIG_NAME)
    if not any(path.suffix in (".safetensors", ".bin", ".pth") for path in folder.iterdir()):
        raise BackboneError(f"{spec}: {folder} holds no weights; put {WEIGHTS_NAMES[0]} beside {CONFIG_NAME}.")
    model_cfg = config["model_cfg"]
    _refuse_oversized(spec, model_cfg, [path for path in folder.iterdir() if path.suffix in _WEIGHTS])
    model = _create(spec, f"local-dir:{folder}", model_cfg, image_size)
    return Loaded(model, tokenizer(spec, model_cfg, folder), config["preprocess_cfg"], _read_hints(spec, folder))


def _from_files(spec: str, weights: Path, config_path: Path, image_size: int | None) -> Loaded:
    if not weights.is_file():
        raise BackboneError(f"{spec}: the weights file {weights} does not exist; check the path.")
    if weights.suffix not in _WEIGHTS:
        raise BackboneError(f"{spec}: {weights.name} is not a weights file; use one of {', '.join(_WEIGHTS)}.")
    config = read_config(spec, config_path)
    _refuse_oversized(spec, config["model_cfg"], [weights])
    with _as_folder(weights, config) as folder:
        model = _create(spec, f"local-dir:{folder}", config["model_cfg"], image_size)
    tokenize = tokenizer(spec, config["model_cfg"], None)
    return Loaded(model, tokenize, config["preprocess_cfg"], _read_hints(spec, weights.parent))


def _from_tag(spec: str, name: str, tag: str, image_size: int | None) -> Loaded:
    cfg = pretrained_cfg(name, tag)
    architecture, notes = architecture_of(name, tag)
    weights = hub_file(spec, *weights_on_hub(cfg))
    model = _create(
        spec,
        architecture,
        open_clip.get_model_config(architecture),
        image_size,
        pretrained=str(weights),
        force_quick_gelu=bool(cfg.get("quick_gelu", False)),
        force_preprocess_cfg={key: cfg[key] for key in _PREPROCESSING if key in cfg},
    )
    return Loaded(model, tag_tokenizer(spec, architecture), dict(model.visual.preprocess_cfg), None, notes)


@contextmanager
def _as_folder(weights: Path, config: dict[str, Any]) -> Iterator[Path]:
    """A temporary folder with a weights file and its configuration, under the names that open_clip looks for."""
    with TemporaryDirectory(prefix="lake-") as name:
        folder = Path(name)
        (folder / CONFIG_NAME).write_text(json.dumps(config), encoding="utf-8")
        there = folder / WEIGHTS_NAMES[0 if weights.suffix == ".safetensors" else 1]
        try:
            there.symlink_to(weights.absolute())
        except OSError:  # where links need a privilege
            shutil.copyfile(weights, there)
        yield folder


def _create(spec: str, name: str, model_cfg: dict[str, Any], image_size: int | None, **options: Any) -> Any:
    """The network with its weights, by open_clip's name for it."""
    _refuse_foreign_network(spec, model_cfg)
    vision_cfg = model_cfg.get("vision_cfg", {})
    size = image_size if _has_positions(vision_cfg) else None
    by_loading = size if "timm_model_name" in vision_cfg else None
    try:
        model = open_clip.create_model(name, weights_only=True, force_image_size=by_loading, **options)
        if size and not by_loading:
            fit_positions(model, size)
    except Exception as error:
        remedy = "use the configuration that the weights were trained with"
        if size:
            remedy += f", or leave out the size {size}"
        raise BackboneError(
            f"{spec}: the weights do not fit the configuration ({first_line(error)}); {remedy}."
        ) from error
    if spec not in SHIPPED:
        check_finite(spec, model)
    return model.eval().requires_grad_(False)


def _refuse_oversized(spec: str, model_cfg: dict[str, Any], weights: Iterable[Path]) -> None:
    """Refuses a network that is larger than its weights before it is made, which could take all memory."""
    n_bytes = sum(path.stat().st_size for path in weights)
    if least_parameters(model_cfg) > n_bytes:
        raise BackboneError(
            f"{spec}: the weights do not fit the configuration, which names a network of more numbers than they have "
            f"bytes ({n_bytes:,}); use the configuration that they were trained with."
        )


def _has_positions(vision_cfg: dict[str, Any]) -> bool:
    """Whether a tower has position embeddings, which are fitted to an input size while weights are loaded."""
    if isinstance(vision_cfg.get("layers"), list):  # CLIP's own ResNet, whose positions cannot be fitted
        return False
    name = vision_cfg.get("timm_model_name")
    if name is None:
        return True
    return any(part in name for part in ("vit", "eva", "beit", "deit")) and not name.startswith("fastvit")


def _refuse_foreign_network(spec: str, model_cfg: dict[str, Any]) -> None:
    """Refuse a text tower whose code lies in its repository on the hub; others are left to open_clip."""
    name = model_cfg["text_cfg"].get("hf_model_name")
    if not name:
        return
    with suppress(ImportError, OSError):
        from transformers import AutoConfig

        try:
            AutoConfig.from_pretrained(name, trust_remote_code=False)
        except ValueError as error:
            raise BackboneError(_needs_code(spec, f"text tower {name}", error)) from error


def tag_tokenizer(spec: str, architecture: str) -> Tokenize:
    """The tokenizer of one of open_clip's architectures; its files come from the hub where it has some."""
    with _tokenizer_errors(spec):
        options = _no_foreign_code(open_clip.get_model_config(architecture)["text_cfg"])
        tokenize: Tokenize = open_clip.get_tokenizer(architecture, **options)
    return tokenize


def tokenizer(spec: str, model_cfg: dict[str, Any], folder: Path | None) -> Tokenize:
    """The tokenizer of a model that comes with its configuration.

    Args:
        folder: Where the files of a tokenizer of transformers lie; None takes them from the hub or its cache.
    """
    text_cfg = model_cfg["text_cfg"]
    length = text_cfg.get("context_length") or open_clip.tokenizer.DEFAULT_CONTEXT_LENGTH
    options = (text_cfg.get("tokenizer_kwargs") or {}) | _no_foreign_code(text_cfg)
    name = text_cfg.get("hf_tokenizer_name")
    with _tokenizer_errors(spec):
        if name:
            mode = text_cfg.get("tokenizer_mode")
            tokenize: Tokenize = open_clip.tokenizer.HFTokenizer(
                folder or name, context_length=length, tokenizer_mode=mode, **options
            )
        elif options:
            tokenize = open_clip.SimpleTokenizer(context_length=length, **options)
        else:
            tokenize = partial(open_clip.tokenize, context_length=length)  # the one that open_clip has made for itself
    return tokenize


def _no_foreign_code(text_cfg: dict[str, Any]) -> dict[str, Any]:
    """What keeps transformers from asking at the terminal whether to run a repository's Python."""
    return {"trust_remote_code": False} if text_cfg.get("hf_tokenizer_name") else {}


@contextmanager
def _tokenizer_errors(spec: str) -> Iterator[None]:
    try:
        yield
    except ImportError as error:
        raise BackboneError(
            f"{spec}: its tokenizer needs another package ({first_line(error)}); install transformers with pip."
        ) from error
    except Exception as error:
        if "trust_remote_code" in str(error):
            raise BackboneError(_needs_code(spec, "tokenizer", error)) from error
        raise BackboneError(
            f"{spec}: its tokenizer cannot be read ({first_line(error)}); put the tokenizer's files into the model's "
            "folder, or connect once to the hub."
        ) from error


def _read_hints(spec: str, folder: Path) -> Hints | None:
    path = folder / "lake.json"
    if not path.is_file():
        return None
    try:
        return Hints.model_validate_json(path.read_bytes())
    except OSError as error:
        raise BackboneError(f"{spec}: {path} cannot be read ({error.strerror}); check its permissions.") from None
    except ValidationError as error:
        detail = error.errors()[0]
        key = ".".join(str(part) for part in detail["loc"])
        raise BackboneError(f"{spec}: {path} is not usable ({key}: {detail['msg']}); mend or remove it.") from None


def _needs_code(spec: str, what: str, error: Exception) -> str:
    return (
        f"{spec}: its {what} needs code that transformers does not have ({first_line(error)}); a model's own Python "
        "is never run, so use a model of an architecture that transformers knows."
    )
