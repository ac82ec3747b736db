"""How many images go through a network at once, measured on the images that are asked for: measuring costs nothing."""

from collections import defaultdict

BATCH_ON_CPU = 2
"""For runs that must give the same bits each time, so that nothing is measured; near the best on the machines seen."""
BATCH_ON_GPU = 64
"""Nothing is measured there: passes are not waited for."""

_TIMINGS = 2
"""Of each size; the faster one counts, as the first pass of a size also prepares memory."""
_GAIN = 0.97
"""A larger batch must be faster than this share of the time of the smaller one, which takes less memory."""


class BatchSize:
    """The batch size at which a network is fastest per image on this machine.

    Powers of two are tried from the one to begin with: larger ones while they are faster, else smaller ones. On CPUs
    lake-cnn lost up to half of its speed with 8 images at once. What is chosen changes its activations by 5e-8 at most.

    Args:
        first: Where to begin.
        least, greatest: The smallest and the largest size to try.
    """

    def __init__(self, first: int, least: int, greatest: int) -> None:
        self.first, self.least, self.greatest = first, least, greatest
        self._seconds: defaultdict[int, list[float]] = defaultdict(list)

    def __repr__(self) -> str:
        return f"BatchSize({self.next()})"

    def next(self) -> int:
        """The size to use now: one to be tried, or the best once all are known."""
        if not self._is_known(self.first):
            return self.first
        up = self._climbed(2.0)
        return up if up != self.first else self._climbed(0.5)

    def took(self, n_images: int, seconds: float) -> None:
        """Notes a pass of that many images."""
        if len(self._seconds[n_images]) < _TIMINGS:
            self._seconds[n_images].append(seconds / n_images)

    def _is_known(self, size: int) -> bool:
        return len(self._seconds[size]) >= _TIMINGS

    def _climbed(self, factor: float) -> int:
        """The size reached by steps of that factor while each is faster; one that is not known yet ends the climb."""
        size = self.first
        while self.least <= (following := int(size * factor)) <= self.greatest:
            if not self._is_known(following):
                return following
            needed = _GAIN if factor > 1 else 1.0
            if min(self._seconds[following]) >= needed * min(self._seconds[size]):
                break
            size = following
        return size
