"""What concept labels are worth beside nonsense words, as numbers and names."""

from dataclasses import dataclass


@dataclass(frozen=True)
class NonsenseFinding:
    """How many neurons get a concept label with real words, and with as many words that mean nothing.

    Attributes:
        n_neurons: Neurons that were tested.
        n_real, n_nonsense: Those that get a label with real and with nonsense words.
        n_real_only, n_nonsense_only: Those that get one with the one and not with the other.
        p_value: Of the exact one-sided McNemar test that real words label more; 1 where no neuron tells them apart.
        level: Share of neurons without meaning that may get a label.
    """

    n_neurons: int
    n_real: int
    n_nonsense: int
    n_real_only: int
    n_nonsense_only: int
    p_value: float
    level: float

    @property
    def can_tell(self) -> bool:
        """Whether there are neurons enough: with fewer than five no p-value of the test is below 0.05."""
        return self.n_neurons >= 5

    @property
    def n_by_chance(self) -> float:
        """Labels to expect if no neuron had a meaning, at most."""
        return self.level * self.n_neurons

    @property
    def real_words_win(self) -> bool:
        """Whether real words label more neurons than nonsense does, at p < 0.05."""
        return self.p_value < 0.05
