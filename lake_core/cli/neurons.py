"""What `lake neurons` does: the table of a layer's neurons, printed in short and written as JSON."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from lake_core.backbones.opening import open_backbone
from lake_core.backbones.process import limit_threads
from lake_core.cli.console import Reporter, check_output, list_sources, write_json
from lake_core.cli.known import labels_of
from lake_core.cli.terminal import plain, say
from lake_core.config import LakeConfig
from lake_core.data.datasets import Example
from lake_core.detector.lake import Lake
from lake_core.errors import LakeError, writing
from lake_core.neurons.activations import neuron_activations
from lake_core.neurons.concepts import ConceptLabels, load_concepts
from lake_core.neurons.labels import ControlledLabels, label_with_control
from lake_core.neurons.statistics import neuron_table, selection_of, with_concepts
from lake_core.sentences import sentence
from lake_core.tables import csv_of

_PRINTED = 20


@dataclass(frozen=True)
class Request:
    """What was asked for on the command line; None takes what suits the model, or everything."""

    normal: Path
    json_out: Path
    test: Path | None
    layer: int | None
    top: int | None
    describe: bool
    concepts: Path | None
    model: str
    image_size: int | None
    device: str
    parameters: Mapping[str, Any]
    csv_out: Path | None = None


def run(request: Request) -> None:
    """Prints the table of neurons and writes it as JSON, and if asked for their activations as CSV.

    Raises:
        ConfigError, BackboneError: if something was asked for that cannot be.
        LakeError: if no normal image can be read.
    """
    for out in (request.json_out, request.csv_out):
        if out is not None:
            check_output(out)
    concepts = load_concepts(request.concepts) if request.describe else ()
    reporter = Reporter()
    normals = _examples(request.normal, "normal", reporter)
    tests = _examples(request.test, "test", reporter) if request.test is not None else []
    if not normals:
        raise LakeError("None of the normal images can be read, so there is nothing to learn from.")
    limit_threads()
    backbone = open_backbone(request.model, image_size=request.image_size, device=request.device)
    lake = Lake(backbone, LakeConfig(**request.parameters))
    layer = request.layer if request.layer is not None else lake.config.layers[-1]
    backbone.hook_point(layer, lake.config.site)
    found: ControlledLabels | None = None
    with reporter.progress:
        lake.fit([one.image for one in normals], reporter.bar("Learning what is normal", len(normals)))
        table = neuron_table(lake, layer, tests, top=request.top)
        if request.describe:
            found = label_with_control(
                lake,
                layer,
                table.loc[table["selected"], "neuron"].tolist(),
                [*lake.normals_, *(one.image for one in tests)],
                concepts,
                on_progress=reporter.bar("Finding concept labels"),
            )
            table = with_concepts(table, found.labels)
        if request.csv_out is not None:
            _write_activations(request, lake, tests, reporter)
    problems = [one.reason for one in reporter.skipped]
    write_json(request.json_out, _document(lake, layer, tests, table, found) | {"problems": problems})
    for line in _printed(table.head(_PRINTED)):
        say(line)
    if len(table) > _PRINTED:
        say(f"... and {len(table) - _PRINTED} more.")
    if found is not None:
        say(sentence(found.finding))
    say(f"Written to {request.json_out}" + ("" if request.csv_out is None else f" and {request.csv_out}"))


def _document(
    lake: Lake, layer: int, tests: Sequence[Example], table: pd.DataFrame, found: ControlledLabels | None
) -> dict[str, Any]:
    """What is written as JSON."""
    return {
        "model": lake.backbone.spec,
        "image_size": lake.backbone.input_size[0],
        "layer": layer,
        "site": lake.config.site,
        "criterion": lake.config.criterion,
        "top_k": lake.config.k_of(layer),
        "seed": lake.config.seed,
        "object_name": lake.config.object_name,
        "normals": [image.name for image in lake.normals_],
        "tests": [one.image.name for one in tests],
        "neurons": rows(table),
        "concept_labels": [] if found is None else [_plain(one) for one in found.labels],
        "nonsense_control": None if found is None else _control(found),
    }


def _printed(table: pd.DataFrame) -> list[str]:
    safe = table.map(lambda value: plain(value) if isinstance(value, str) else value)
    return safe.to_string(index=False, float_format=lambda value: f"{value:.4g}").split("\n")


def _write_activations(request: Request, lake: Lake, tests: Sequence[Example], reporter: Reporter) -> None:
    """The greatest activation of the selected neurons on each image: of the layer asked for, else of all layers."""
    assert request.csv_out is not None
    chosen = None if request.layer is None else {request.layer: selection_of(lake, request.layer).neurons}
    table = neuron_activations(lake, tests, chosen, reporter.bar("Reading activations"))
    with writing(request.csv_out):
        request.csv_out.write_text(csv_of(table), encoding="utf-8", errors="backslashreplace", newline="")


def rows(table: pd.DataFrame) -> list[dict[str, Any]]:
    """The table of neurons as plain values for JSON: numbers in full, None for what is not known."""
    return [{str(name): _value(value) for name, value in row.items()} for row in table.to_dict("records")]


def _value(value: Any) -> Any:
    plain = value.item() if hasattr(value, "item") else value
    return None if isinstance(plain, float) and not math.isfinite(plain) else plain


def _plain(one: ConceptLabels) -> Mapping[str, Any]:
    """Concept labels with the best concepts of both routes; those with a p-value above the level are no labels."""

    def scores(route: Sequence[Any]) -> list[dict[str, Any]]:
        return [found._asdict() for found in route]

    return {
        "neuron": one.neuron,
        "concepts": list(one.concepts),
        "level": one.level,
        "agreement": scores(one.agreement),
        "effect": scores(one.effect),
        "effect_by": one.effect_by,
    }


def _control(found: ControlledLabels) -> Mapping[str, Any]:
    """What the same tests give with nonsense words: the counts, the words, and the labels that neurons get of them."""
    finding = found.finding
    return asdict(finding) | {
        "n_by_chance": finding.n_by_chance,
        "real_words_win": finding.real_words_win,
        "words": list(found.words),
        "labels": [{"neuron": one.neuron, "concepts": list(one.concepts)} for one in found.nonsense],
    }


def _examples(given: Path, side: str, reporter: Reporter) -> list[Example]:
    """The images of a folder, or the one image, with the labels that their paths give."""
    sources = list_sources(given, f"--{side}")
    known = labels_of(sources)
    reporter.note_folders(given)
    found = reporter.read(sources, side)
    return [Example(image, known[source.name].label, known[source.name].kind) for source, image in found]
