"""Bringing a model from the hub to this machine before it is opened, with progress and a way to stop."""

from importlib.util import find_spec
from typing import Any

from huggingface_hub.errors import HFValidationError

from lake_core.backbones.hub import CONFIG_NAME, WEIGHTS_NAMES, cached_file, hub_file, no_repository, weights_on_hub
from lake_core.backbones.libraries import open_clip
from lake_core.backbones.loading import architecture_of, tag_tokenizer, tokenizer
from lake_core.backbones.model_configs import read_config
from lake_core.backbones.registry import Source, parse_spec, pretrained_cfg
from lake_core.errors import UnavailableError
from lake_core.types import Progress


def is_here(spec: str) -> bool:
    """Whether a model's weights are on this machine, or need not come from the hub.

    Raises:
        BackboneError: if the spec names nothing that could be opened.
    """
    source = parse_spec(spec)
    if source.scheme not in ("pretrained", "hf-hub"):
        return True
    repository, names = _weights(source)
    try:
        return cached_file(repository, names) is not None
    except HFValidationError:
        raise no_repository(spec, repository) from None


def fetch(spec: str, on_progress: Progress) -> None:
    """Brings the weights and the tokenizer of a model here, if they are not; nothing of it is opened.

    Args:
        spec: See `registry`.
        on_progress: Called with the bytes of the weights downloaded and the bytes in all; what it raises ends the
            download, of which nothing stays.
    Raises:
        BackboneError: if the spec names nothing that could be opened.
        UnavailableError: if the model cannot be brought here; one sentence with the reason and the remedy.
    """
    source = parse_spec(spec)
    if source.scheme == "pretrained":
        architecture = architecture_of(source.name, source.detail)[0]
        _check_packages(spec, open_clip.get_model_config(architecture))
        hub_file(spec, *_weights(source), on_progress)
        tag_tokenizer(spec, architecture)
    elif source.scheme == "hf-hub":
        model_cfg = read_config(spec, hub_file(spec, source.name, (CONFIG_NAME,)))["model_cfg"]
        _check_packages(spec, model_cfg)
        hub_file(spec, *_weights(source), on_progress)
        tokenizer(spec, model_cfg, None)


def _weights(source: Source) -> tuple[str, tuple[str, ...]]:
    """Repository of a model of the hub, and the names that its weights may have there."""
    if source.scheme == "pretrained":
        return weights_on_hub(pretrained_cfg(source.name, source.detail))
    return source.name, WEIGHTS_NAMES


def _check_packages(spec: str, model_cfg: dict[str, Any]) -> None:
    """Says so before a download that would be of no use."""
    text_cfg = model_cfg["text_cfg"]
    if (text_cfg.get("hf_tokenizer_name") or text_cfg.get("hf_model_name")) and find_spec("transformers") is None:
        raise UnavailableError(
            f"{spec}: its text side needs the package transformers, which is not installed; run "
            'pip install "lake-explorer[siglip]" first.'
        )
