"""What notebooks show of objects that are no images and no tables: a few facts, escaped."""

from collections.abc import Iterable, Sequence
from typing import Protocol

from lake_core.sentences import sentence
from lake_core.visualization.markup import Markup, element


class _Found(Protocol):
    @property
    def finding(self) -> object: ...


def as_sentence(self: _Found) -> str:
    """A result by its finding in English, for `_repr_html_`."""
    return element("p", sentence(self.finding))


def facts(title: str, pairs: Iterable[tuple[str, object]], remarks: Sequence[str] = ()) -> Markup:
    """A title, facts with their names, and remarks in sentences."""
    rows = [element("tr", element("th", name, style="text-align: left"), element("td", what)) for name, what in pairs]
    said = [element("p", one) for one in remarks]
    return element("div", element("p", element("b", title)), element("table", element("tbody", *rows)), *said)
