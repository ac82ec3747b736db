"""HTML made of elements: a text that is no markup is escaped, so that no name of a file or prompt becomes any."""

import base64
import html
from collections.abc import Iterable, Sequence

_EMPTY = ("br", "img", "meta")


class Markup(str):
    """A text that is HTML already."""


def element(name: str, /, *children: object, **attributes: object) -> Markup:
    """An element; children that are no `Markup` are escaped.

    Args:
        name: Of the element.
        children: What is in it; None is left out.
        attributes: `class_` is "class", "_" stands for "-"; None and False are left out, True has no value.
    """
    given = {key.rstrip("_").replace("_", "-"): value for key, value in attributes.items()}
    texts = [
        f" {key}" if value is True else f' {key}="{html.escape(str(value))}"'
        for key, value in given.items()
        if value is not None and value is not False
    ]
    start = f"<{name}{''.join(texts)}>"
    return Markup(start if name in _EMPTY else f"{start}{joined(children)}</{name}>")


def joined(children: Iterable[object]) -> Markup:
    """Several children one after the other, escaped as in `element`."""
    texts = [one if isinstance(one, Markup) else html.escape(str(one)) for one in children if one is not None]
    return Markup("".join(texts))


def paragraph(*children: object, small: bool = False) -> Markup:
    """A paragraph, in small print where it only explains."""
    return element("p", *children, class_="report-small" if small else None)


def table(head: Sequence[str], rows: Iterable[Sequence[str]], name: str) -> Markup:
    """A table that scrolls sideways, also by keyboard, where it is wider than the screen.

    Args:
        head: Names of the columns.
        rows: Cells as texts; columns of numbers alone are aligned to the right.
        name: What it shows, for screen readers.
    """
    held = [list(row) for row in rows]
    kinds = ["report-number" if all(map(_is_number, column)) else None for column in zip(*held, strict=True)]
    kinds = kinds or [None] * len(head)
    names = [element("th", text, scope="col", class_=kind) for text, kind in zip(head, kinds, strict=True)]
    body = [
        element("tr", *(element("td", one, class_=kind) for one, kind in zip(row, kinds, strict=True))) for row in held
    ]
    whole = element("table", element("thead", element("tr", *names)), element("tbody", *body))
    return element("div", whole, class_="report-table", role="region", aria_label=name, tabindex="0")


def definitions(pairs: Iterable[tuple[str, object]]) -> Markup:
    """Terms with what they are."""
    rows = [element("div", element("dt", term), element("dd", what)) for term, what in pairs]
    return element("dl", *rows, class_="report-facts")


def embedded_image(jpeg: bytes, alt: str) -> Markup:
    """An image that is part of the file."""
    return element("img", src=f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}", alt=alt)


def _is_number(text: str) -> bool:
    return text.lstrip("-").replace(".", "").isdigit()
