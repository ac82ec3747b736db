"""Parameters of the method: frozen, hashable, checked when they are made.

Everything here acts *after* the network: changing a parameter never runs the model again. What changes the network's
input (backbone, input size, way of resizing) belongs to `open_backbone`.

Parameters are split by what depends on them, so that each part is the key of what is computed from it: `FitConfig` for
the selection and the memory bank, `TextConfig` for the text side, `WeightConfig` for what only weighs. `LakeConfig` is
the three together.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from numbers import Integral
from typing import Any, Literal, TypeVar, get_args

from lake_core.criteria import criteria
from lake_core.errors import ConfigError
from lake_core.prompts import PromptEnsemble
from lake_core.types import SITES, Site

Normalise = Literal["unit", "none"]
NORMALISATIONS: tuple[Normalise, ...] = get_args(Normalise)
PRESETS: dict[str, dict[str, Any]] = {
    "paper": {
        "site": "residual_channel",
        "top_k": 100,
        "criterion": "variance",
        "normalise": "none",
        "smooth": 1,
        "fusion_weight": 0.3,
        "top_q": 1,
    }
}
"""Parameters by the name of a preset. "paper" is what is known, second hand, of LAKE (Li et al., arXiv 2604.07802), and
nothing else: layers, image size, prompts and the number of normal images are not known (docs/method.md, section 7)."""
PAPER_BACKBONE = "ViT-L-14-336:openai"
"""The backbone that the preset "paper" is meant for; no configuration names one."""
Part = TypeVar("Part", "FitConfig", "TextConfig", "WeightConfig")


@dataclass(frozen=True)
class Recommended:
    """What suits a backbone where the user has not chosen: measured for ours, a rule for the others."""

    layers: tuple[int, ...]
    site: Site
    normalise: Normalise = "unit"
    smooth: int = 3


@dataclass(frozen=True, kw_only=True)
class FitConfig:
    """What the selection, the memory bank and its calibration depend on.

    Attributes:
        layers: Layers whose visual maps are averaged, numbered from 1; None takes the backbone's recommendation.
        site: "mlp_hidden" or "residual_channel"; None takes the backbone's recommendation.
        top_k: Neurons kept per layer, >= 1; more than a layer has means all of them. One number for all layers, or one
            for each of `layers`; becomes a tuple in ascending order of the layers where they differ.
        criterion: Name of the criterion by which neurons are ranked; "random" and "all" are controls.
        seed: Seed of the "random" criterion, of a coreset, and of baselines that draw at random.
        normalise: "unit" scales vectors of selected neurons to length 1 before distances, "none" leaves them;
            None takes the backbone's recommendation.
        smooth: Side of the square of patches that activations are averaged over, odd; 1 switches it off; None takes
            the backbone's recommendation.
        calibration_quantile: Quantile of the normal patches' leave-one-out distances that becomes tau, in (0, 1].
        memory_bank_size: Normal patches kept in each layer, >= 2, far from each other (a coreset); None keeps all.
    """

    layers: tuple[int, ...] | None = None
    site: Site | None = None
    top_k: int | tuple[int, ...] = 100
    criterion: str = "variance"
    seed: int = 0
    normalise: Normalise | None = None
    smooth: int | None = None
    calibration_quantile: float = 0.99
    memory_bank_size: int | None = None

    def __post_init__(self) -> None:
        given = self.layers
        if self.layers is not None:
            are_numbers = len(self.layers) > 0 and all(_is_whole(layer, 1) for layer in self.layers)
            _require(are_numbers, "layers", self.layers, "at least one layer number, from 1")
            object.__setattr__(self, "layers", tuple(sorted(set(self.layers))))
        require_one_of("site", self.site, (None, *SITES))
        object.__setattr__(self, "top_k", _checked_k(self.top_k, given))
        require_one_of("criterion", self.criterion, tuple(criteria()))
        require_whole("seed", self.seed, 0)
        require_one_of("normalise", self.normalise, (None, *NORMALISATIONS))
        is_odd = self.smooth is None or (_is_whole(self.smooth, 1) and self.smooth % 2 == 1)
        _require(is_odd, "smooth", self.smooth, "1, 3, 5 ...")
        _require(0 < self.calibration_quantile <= 1, "calibration_quantile", self.calibration_quantile, "in (0, 1]")
        if self.memory_bank_size is not None:
            require_whole("memory_bank_size", self.memory_bank_size, 2)

    @property
    def ks(self) -> tuple[int, ...]:
        """K of each layer, in ascending order of the layers; a single one where it is the same for all."""
        return self.top_k if isinstance(self.top_k, tuple) else (self.top_k,)

    def k_of(self, layer: int) -> int:
        """K of a layer; for one that is not in the configuration, the greatest of those that are."""
        return dict(zip(self.layers or (), self.ks, strict=False)).get(layer, max(self.ks))

    @property
    def calibration_percentile(self) -> str:
        """What 1 stands for on the visual and the text map: "99th percentile" (of normal patches) for 0.99."""
        percent = f"{100 * self.calibration_quantile:g}"
        is_teen = percent[-2:] in ("11", "12", "13")
        ending = "th" if is_teen or "." in percent else {"1": "st", "2": "nd", "3": "rd"}.get(percent[-1], "th")
        return f"{percent}{ending} percentile"


@dataclass(frozen=True, kw_only=True)
class TextConfig:
    """What the text side depends on.

    Attributes:
        object_name: What the images show, as it stands in the prompts.
        prompts: The prompt ensemble.
    """

    object_name: str = "object"
    prompts: PromptEnsemble = field(default_factory=PromptEnsemble)

    def __post_init__(self) -> None:
        _require(isinstance(self.object_name, str), "object_name", self.object_name, "a text")
        _require(isinstance(self.prompts, PromptEnsemble), "prompts", self.prompts, "a PromptEnsemble")
        object.__setattr__(self, "object_name", " ".join(self.object_name.split()) or "object")


@dataclass(frozen=True, kw_only=True)
class WeightConfig:
    """What only weighs maps that are computed already.

    Attributes:
        fusion_weight: Weight w of the text map in the fused map, in [0, 1].
        top_q: The image score is the mean of the fused map's top q patches; 1 means the maximum.
        threshold_quantile: Quantile of the normal images' leave-one-out scores that becomes the decision threshold,
            in [0, 1].
    """

    fusion_weight: float = 0.3
    top_q: int = 1
    threshold_quantile: float = 0.9

    def __post_init__(self) -> None:
        _require(0 <= self.fusion_weight <= 1, "fusion_weight", self.fusion_weight, "between 0 and 1")
        require_whole("top_q", self.top_q)
        _require(0 <= self.threshold_quantile <= 1, "threshold_quantile", self.threshold_quantile, "between 0 and 1")


@dataclass(frozen=True, kw_only=True)
class LakeConfig(FitConfig, TextConfig, WeightConfig):
    """All parameters of sections 1 to 5 of docs/method.md: those of `FitConfig`, `TextConfig` and `WeightConfig`."""

    def __post_init__(self) -> None:
        for part in (FitConfig, TextConfig, WeightConfig):
            part.__post_init__(self)

    @classmethod
    def preset(cls, name: str, **parameters: Any) -> "LakeConfig":
        """The configuration of that name in `PRESETS`, with other parameters changed or added.

        Raises:
            ConfigError: if there is no such preset, or a value is not allowed.
        """
        require_one_of("preset", name, tuple(PRESETS))
        return cls(**PRESETS[name] | parameters)

    def part(self, kind: type[Part]) -> Part:
        """The parameters of one of the three parts alone."""
        return kind(**{f.name: getattr(self, f.name) for f in fields(kind)})

    def resolved(self, recommended: Recommended) -> "ResolvedConfig":
        """The same parameters with every None filled in from a backbone's recommendation."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        gaps = {f.name: getattr(recommended, f.name) for f in fields(recommended) if values[f.name] is None}
        return ResolvedConfig(**values | gaps)

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON; `from_dict` reads them back."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "LakeConfig":
        """The configuration that `as_dict` wrote.

        Raises:
            ConfigError: if a name is unknown or a value is not allowed.
        """
        known = {f.name for f in fields(cls)}
        unknown = sorted(set(values) - known)
        if unknown:
            raise ConfigError(f"Unknown parameter {unknown[0]!r}; the parameters are {', '.join(sorted(known))}.")
        plain = dict(values)
        try:
            if plain.get("layers") is not None:
                plain["layers"] = tuple(plain["layers"])
            if isinstance(plain.get("top_k"), list):
                plain["top_k"] = tuple(plain["top_k"])
            if isinstance(plain.get("prompts"), Mapping):
                plain["prompts"] = PromptEnsemble(**{name: tuple(texts) for name, texts in plain["prompts"].items()})
            return cls(**plain)
        except (TypeError, ValueError) as error:
            raise ConfigError(
                f"The configuration cannot be read ({error}); write it with LakeConfig.as_dict."
            ) from None


@dataclass(frozen=True, kw_only=True)
class ResolvedConfig(LakeConfig):
    """A `LakeConfig` in which nothing is left open."""

    layers: tuple[int, ...] = ()
    site: Site = "mlp_hidden"
    normalise: Normalise = "unit"
    smooth: int = 3


def _checked_k(top_k: int | tuple[int, ...], layers: tuple[int, ...] | None) -> int | tuple[int, ...]:
    """K as one number where it is the same for all layers, else in ascending order of the layers, as far as known."""
    if not isinstance(top_k, tuple):
        require_whole("top_k", top_k)
        return top_k
    are_numbers = len(top_k) > 0 and all(_is_whole(k, 1) for k in top_k)
    _require(are_numbers, "top_k", top_k, "whole numbers of at least 1")
    if layers is not None:
        fits = len(top_k) == len(layers) == len(set(layers))
        allowed = f"one number for all layers, or one for each of the layers {', '.join(map(str, layers))}"
        _require(fits, "top_k", top_k, allowed)
        top_k = tuple(k for _, k in sorted(zip(layers, top_k, strict=True)))
    return top_k if len(set(top_k)) > 1 else top_k[0]


def _is_whole(value: object, lowest: int) -> bool:
    return isinstance(value, Integral) and int(value) >= lowest


def _require(holds: bool, name: str, value: object, allowed: str) -> None:
    if not holds:
        raise ConfigError(f"{name} is {value!r}; it must be {allowed}.")


def require_whole(name: str, value: object, lowest: int = 1) -> None:
    """Raises a ConfigError unless a parameter is a whole number of at least `lowest`."""
    _require(_is_whole(value, lowest), name, value, f"a whole number of at least {lowest}")


def require_one_of(name: str, value: object, allowed: Sequence[object]) -> None:
    """Raises a ConfigError unless a parameter has one of the values allowed; the message does not list None."""
    names = [str(one) for one in allowed if one is not None]
    _require(value in allowed, name, value, f"one of {', '.join(names)}")
