"""Nonsense words as a control of concept labels: strings of random letters, and whether real words beat them.

A null of shuffled maps or rotated directions keeps or breaks what it was made for, and no more. Words that mean nothing
go the same way as real ones from their letters on, through the text tower and both tests; labels that they get as often
are no evidence of meaning.
"""

import string
from collections.abc import Sequence

import numpy as np

from lake_core.findings.labels import NonsenseFinding

_TRIES = 100
"""After so many draws that are words already, a longer one is drawn."""


def nonsense_words(concepts: Sequence[str], seed: int = 0) -> tuple[str, ...]:
    """As many strings of random letters as there are concepts, of their lengths.

    Each letter or digit is replaced by a random small letter; spaces, hyphens and the like stay.

    Args:
        concepts: Words or short phrases, each once.
        seed: Of the letters.
    Returns:
        Each once, and none of them a concept.
    """
    rng = np.random.default_rng(seed)
    letters = np.array(list(string.ascii_lowercase))
    taken = {concept.casefold() for concept in concepts}
    found: list[str] = []
    for concept in concepts:
        pattern, n_tries = concept, 0
        while (word := "".join(str(rng.choice(letters)) if one.isalnum() else one for one in pattern)) in taken:
            n_tries += 1
            pattern = concept + "x" * (n_tries // _TRIES)
        taken.add(word)
        found.append(word)
    return tuple(found)


def nonsense_finding(real: np.ndarray, nonsense: np.ndarray, level: float) -> NonsenseFinding:
    """Whether real words give a label to more neurons than nonsense words do.

    The exact McNemar test, one-sided: of the neurons that only one of the two vocabularies labels, are those with a
    real label more than half? (McNemar, Psychometrika 1947; exactly, a sign test.) It takes neurons as independent;
    those of one layer are not quite, so a p-value a little below 0.05 is weak.

    Args:
        real, nonsense: (n_neurons,) bool, whether each neuron gets a label.
        level: Share of neurons without meaning that may get a label.
    """
    from scipy.stats import binomtest  # takes long to import

    n_real_only, n_nonsense_only = int((real & ~nonsense).sum()), int((nonsense & ~real).sum())
    n_either = n_real_only + n_nonsense_only
    p_value = float(binomtest(n_real_only, n_either, 0.5, alternative="greater").pvalue) if n_either else 1.0
    return NonsenseFinding(
        len(real), int(real.sum()), int(nonsense.sum()), n_real_only, n_nonsense_only, p_value, level
    )
