"""One evaluation of two small data sets, at which several files look."""

from pathlib import Path
from typing import Any

import pytest

from lake_core.backbones.backbone import Backbone
from lake_core.config import LakeConfig
from lake_core.evaluation.protocol import METHODS, FewShotProtocol
from lake_core.evaluation.report import EvaluationReport
from lake_core.evaluation.runner import evaluate
from tests.core.evaluation.documents import plain


@pytest.fixture(scope="session")
def report(stained: list[Path], small_cnn: Backbone) -> EvaluationReport:
    """All methods on both data sets, with two numbers of shots and two seeds."""
    return evaluate(stained, small_cnn, LakeConfig(top_k=20), FewShotProtocol((1, 3), (0, 1), METHODS))


@pytest.fixture(scope="session")
def document(report: EvaluationReport) -> dict[str, Any]:
    """The report's JSON document, read back."""
    return plain(report)
