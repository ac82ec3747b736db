"""What the sidebar sets: a backbone, its input size, and the method's parameters. Frozen, so that it can be a key."""

from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from lake_core.backbones.registry import DEFAULT_BACKBONE
from lake_core.config import LakeConfig
from lake_core.types import Site


class ModelKey(NamedTuple):
    """What the activations of an image depend on.

    Attributes:
        spec: As for `open_backbone`.
        image_size: Side of the square input in pixels; None is the backbone's own.
    """

    spec: str
    image_size: int | None


class Pin(NamedTuple):
    """A pinned neuron; the same hook point of another backbone is another thing."""

    model: ModelKey
    layer: int
    site: Site
    neuron: int


class Note(NamedTuple):
    """What was noted on a pinned neuron.

    Attributes:
        in_list: Name of the list that it was put into; "" is the list without a name.
        text: A sentence.
    """

    in_list: str = ""
    text: str = ""


@dataclass(frozen=True)
class Settings:
    """One configuration.

    Attributes:
        spec: Of the backbone, as for `open_backbone`.
        image_size: Side of the square input in pixels; None is the backbone's own.
        config: The method's parameters; None in it is the backbone's recommendation.
    """

    spec: str = DEFAULT_BACKBONE
    image_size: int | None = None
    config: LakeConfig = field(default_factory=LakeConfig)

    @property
    def model(self) -> ModelKey:
        return ModelKey(self.spec, self.image_size)

    def having(self, **parameters: Any) -> "Settings":
        """The same with some of the method's parameters changed; other layers all have the greatest K of these."""
        if parameters.get("layers", self.config.layers) != self.config.layers:
            parameters = {"top_k": max(self.config.ks)} | parameters
        return replace(self, config=replace(self.config, **parameters))
