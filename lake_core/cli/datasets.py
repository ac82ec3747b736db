"""What `lake datasets inspect` does: show how a folder is understood, before anything runs on it."""

import json
from pathlib import Path

from lake_core.cli.console import progress_bars
from lake_core.cli.terminal import say
from lake_core.data.inspection import inspect, lines
from lake_core.data.samples import samples_if_named


def run(folder: Path, as_json: bool) -> None:
    """Prints what is found in a data set or a folder of data sets, as lines or as JSON."""
    with progress_bars() as on_progress:
        found, beside = inspect(samples_if_named(folder), on_progress)
    if as_json:
        document = {"folder": str(folder), "categories": [category.as_dict() for category in found], "ignored": beside}
        for line in json.dumps(document, indent=1).splitlines():
            say(line)
    else:
        for line in lines(found, beside):
            say(line)
