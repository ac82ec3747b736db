"""Names that several rooms share: activation sites, hook points, neurons, labels, progress."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Literal, NamedTuple, TypeAlias, TypeVar, get_args

import numpy as np

T = TypeVar("T")

Site = Literal["residual_channel", "mlp_hidden"]
"""Where in a block activations are read: "residual_channel" is the block's output, "mlp_hidden" the input of its
down-projection. Convolutional towers use the same two names for their blocks."""
SITES: tuple[Site, ...] = get_args(Site)


class HookPoint(NamedTuple):
    """Where activations are read: a layer, numbered from 1 at the input, and a site.

    Two more sites stand for the joint space of images and texts, both at the last layer: "joint" (one vector of length
    1 per patch) and "image" (the vector of the whole image).
    """

    layer: int
    site: Literal["residual_channel", "mlp_hidden", "joint", "image"]


Neurons: TypeAlias = Mapping[int, Sequence[int] | np.ndarray]
"""Layer number -> neurons of that layer."""

Pool = Literal["layer", "selected"]
"""What random neurons are drawn from: all neurons of a layer, or its selected ones."""

Label: TypeAlias = Literal["good", "defective"]

Labels: TypeAlias = Sequence[bool | None]
"""One per image: True where defective, False where good, None where nobody knows."""

Progress: TypeAlias = Callable[[int, int], None]
"""Called with the steps done and the steps in all; it may raise to cancel."""


def counted(steps: Sequence[T], on_progress: Progress | None) -> Iterator[T]:
    """The steps one after the other, for a loop that does them; each is reported when it is done."""
    for n_done, step in enumerate(steps, start=1):
        yield step
        if on_progress is not None:
            on_progress(n_done, len(steps))
