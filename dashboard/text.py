"""Foreign strings on screen: names of files, folders and data sets, and what a visitor typed, as they are written.

Streamlit reads captions, labels, messages and tooltips as Markdown, with LaTeX, links, images, icons and emoji. The
options of select boxes, the cells of tables and `alt=` are plain text and need nothing.
"""

import html
import re

MOST_LETTERS = 48
"""Of a name in a card: three lines of the narrowest one."""
JOINER = "\u2060"
"""Unicode's word joiner: takes no room and draws nothing."""

_SIGN = re.compile(r"[\\`*\[\]<>$~&|]|(?<![^\W_])_|_(?![^\W_])")  # "_" within a word means nothing
_AT_THE_START = re.compile(r"^(?=[-+=#])|^(\d+)(?=[.)])")
_SOUGHT_LATER = re.compile(r"(?<!\S)[<>~-](?=(?:->|[>=-])(?!\S))|:(?=[\w/:+-])|www(?=\.)|(?<=\w)(?=@)", re.I)


def escaped(text: str) -> str:
    r"""Markdown that shows a text as it is, in one line.

    Signs that mean something in Markdown get a backslash. Icons (`:material/home:`), emoji, arrows and addresses
    (`www.`, `http:`, `@`) are sought after Markdown has taken the backslashes away: a word joiner hides those.
    """
    line = _SOUGHT_LATER.sub(lambda found: found[0] + JOINER, " ".join(text.split()))
    return _AT_THE_START.sub(r"\1\\", _SIGN.sub(r"\\\g<0>", line))


def shortened(text: str, most: int = MOST_LETTERS) -> str:
    """The text in one line, with what is too much left out in its middle: names differ at both ends."""
    line = " ".join(text.split())
    if len(line) <= most:
        return line
    n_end = most // 2
    return f"{line[: most - n_end - 1]}…{line[-n_end:]}"


def in_figure(text: str) -> str:
    """The text as Plotly shows it as it is: Plotly reads titles, ticks and hover texts as a kind of HTML."""
    return html.escape(text, quote=False)
