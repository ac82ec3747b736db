"""Evaluations as the JSON documents that are written of them."""

import json
from pathlib import Path
from typing import Any

from lake_core.backbones.backbone import Backbone
from lake_core.config import LakeConfig
from lake_core.evaluation.protocol import CategoryProgress, FewShotProtocol
from lake_core.evaluation.report import EvaluationReport
from lake_core.evaluation.runner import evaluate


def plain(report: EvaluationReport) -> dict[str, Any]:
    """The JSON document, read back."""
    found: dict[str, Any] = json.loads(report.to_json())
    return found


def evaluated(
    folders: list[Path],
    backbone: Backbone,
    config: LakeConfig | None = None,
    on_progress: CategoryProgress | None = None,
    **protocol: Any,
) -> dict[str, Any]:
    return plain(evaluate(folders, backbone, config, FewShotProtocol(**protocol), on_progress=on_progress))


def one(rows: list[dict[str, Any]], **wanted: object) -> dict[str, Any]:
    found = [row for row in rows if all(row[key] == value for key, value in wanted.items())]
    assert len(found) == 1
    return found[0]


def without_time(row: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in row.items() if key != "seconds"}
