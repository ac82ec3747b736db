"""The kinds of input: what each is made of, and what must take or refuse it."""

from dataclasses import dataclass
from importlib import import_module
from typing import Protocol, cast

from numpy.random import Generator, default_rng

from lake_core.errors import LakeError


class Module(Protocol):
    """One kind of input, in a module of its own."""

    NAME: str
    """What the program is told the input is called."""

    def make(self, rng: Generator) -> bytes:
        """A malformed input."""

    def valid(self) -> bytes:
        """A sound input, which must be taken."""

    def run(self, data: bytes) -> None:
        """Hands an input to the program.

        Raises:
            LakeError: if it is refused; any other exception is a fault of the program.
        """


@dataclass(frozen=True)
class Kind:
    """A kind of input and its share of all, in thousandths."""

    name: str
    share: int

    @property
    def module(self) -> Module:
        """Imported where it is first needed: some kinds need PyTorch."""
        return cast(Module, import_module(f"tests.fuzz.{self.name}"))


KINDS = (
    Kind("images", 570),
    Kind("archives", 150),
    Kind("tables", 100),
    Kind("projects", 120),
    Kind("models", 50),
    Kind("links", 10),
)
_OF_NUMBER = default_rng(0).permutation([kind.name for kind in KINDS for _ in range(kind.share)]).tolist()


def kind_of(number: int) -> Kind:
    """The kind of the input of a number: any thousand numbers in a row have all kinds by their shares."""
    name = _OF_NUMBER[number % len(_OF_NUMBER)]
    return next(kind for kind in KINDS if kind.name == name)


def made(seed: int, number: int) -> bytes:
    """The input of a number, always the same."""
    return kind_of(number).module.make(default_rng([seed, number]))


def check_sentence(sentence: str, name: str) -> None:
    """Raises an AssertionError where a refusal is anything but one line that names the file and ends as a sentence."""
    assert name in sentence, f"does not name {name}: {sentence[:300]!r}"
    assert "\n" not in sentence, f"is no single line: {sentence[:300]!r}"
    assert sentence.endswith((".", "!", "?")), f"does not end as a sentence: {sentence[-300:]!r}"


def refusal(kind: Kind, data: bytes) -> str | None:
    """The sentence with which an input is refused; None where it is taken.

    Raises:
        AssertionError: if the sentence is none.
        Exception: whatever the program did not foresee.
    """
    try:
        kind.module.run(data)
    except LakeError as error:
        check_sentence(str(error), kind.module.NAME)
        return str(error)
    return None
