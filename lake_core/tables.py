"""Tables as CSV that a spreadsheet does not run: a text that would be a formula there is written with an apostrophe.

Who reads such a file by program takes the apostrophe away again with `original_cell`. Numbers stay numbers.
"""

import csv
import re
from collections.abc import Iterable, Mapping, Sequence
from io import StringIO
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    import pandas as pd

_FORMULA = re.compile(r"'*[=+\-@\t\r]")
_QUOTED = re.compile(r"'+[=+\-@\t\r]")


def csv_cell(value: Any) -> Any:
    """A value as it is written to a CSV file: a text that begins like a formula gets an apostrophe before it."""
    return f"'{value}" if isinstance(value, str) and _FORMULA.match(value) else value


def original_cell(text: str) -> str:
    """What `csv_cell` was given, from what it made of a text."""
    return text[1:] if _QUOTED.match(text) else text


def write_csv(file: TextIO, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Writes a header and rows; a value that is None is an empty cell."""
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(map(csv_cell, columns))
    writer.writerows([csv_cell(row[column]) for column in columns] for row in rows)


def csv_of(table: "pd.DataFrame") -> str:
    """A data frame as CSV, without its index."""
    buffer = StringIO()
    texts = [name for name, column in table.items() if column.dtype.kind not in "biufcmM"]
    safe = table.assign(**{str(name): table[name].map(csv_cell, na_action="ignore") for name in texts})
    safe.rename(columns=csv_cell).to_csv(buffer, index=False)
    return buffer.getvalue()
