"""What a notebook shows of a detector, its selection and its controls: the numbers, in little room, escaped."""

import numpy as np
import pytest

from lake_core.backbones.backbone import Backbone
from lake_core.config import LakeConfig
from lake_core.detector.lake import Lake
from lake_core.experiments.ablation import ablate, ablation_control
from lake_core.experiments.controls import RandomControl
from lake_core.experiments.neuron_sets import top_contributing_neurons
from lake_core.findings.labels import NonsenseFinding
from lake_core.metrics.bootstrap import Interval
from lake_core.neurons.labels import ControlledLabels
from lake_core.sentences import control_caveat, sentence
from tests.core.images import spotted

MOST = 3000
"""Characters."""


@pytest.fixture(scope="module")
def lake(small_cnn: Backbone) -> Lake:
    config = LakeConfig(layers=(9, 15), top_k=(20, 30), object_name='<b>nut</b> & "bolt"')
    return Lake(small_cnn, config).fit([spotted(seed) for seed in range(3)])


def test_a_detector_tells_what_it_was_given_and_what_it_learned(lake: Lake) -> None:
    shown = lake._repr_html_()
    assert len(shown) < MOST
    assert "<b>nut" not in shown
    assert "&lt;b&gt;nut&lt;/b&gt; &amp; &quot;bolt&quot;" in shown
    for said in ("lake-cnn", "9, 15", "20, 30 of mlp_hidden a layer, by variance", f"{lake.threshold_:.3f}, from the"):
        assert said in shown
    for selection in lake.selection_.values():
        assert f"{len(selection.neurons)} of {selection.n_neurons} neurons" in shown
    assert "9.000, set by hand" in lake.with_threshold(9.0)._repr_html_()


def test_a_detector_that_has_learned_nothing_says_so(small_cnn: Backbone) -> None:
    shown = Lake(small_cnn)._repr_html_()
    assert "not fitted" in shown
    assert "call fit" in shown


def test_a_selection_names_its_most_sensitive_neurons(lake: Lake) -> None:
    selection = lake.selection_[15]
    shown = selection._repr_html_()
    assert len(shown) < MOST
    assert ", ".join(map(str, selection.neurons[:12].tolist())) + " ..." in shown
    assert f"30 of {selection.n_neurons} neurons, {selection.share_kept:.0%} of the sensitivity" in shown
    assert " ..." not in selection.cut(12)._repr_html_()


def test_a_random_control_shows_its_verdict_and_its_caveat() -> None:
    control = RandomControl(0.9, np.array([0.95, 0.9, 0.7]), "auroc", Interval(-0.1, 0.2))
    assert control.finding is not None
    shown = control._repr_html_()
    assert sentence(control.finding) in shown.replace("&#x27;", "'")
    assert control_caveat(True) in shown
    assert "<td>0.900</td>" in shown
    without = RandomControl(0.4, np.array([0.1]), "gap")._repr_html_()
    assert control_caveat(False) in without
    assert "AUROC" not in without


def test_experiments_show_their_finding_as_a_sentence(lake: Lake) -> None:
    image = spotted(9, defect=True)
    result = lake.explain(image)
    top = top_contributing_neurons(result, 3)
    for found in (ablate(lake, top, image), ablation_control(lake, top, result)):
        assert found._repr_html_().replace("&#x27;", "'") == f"<p>{sentence(found.finding)}</p>"
    labels = ControlledLabels((), (), (), NonsenseFinding(8, 2, 1, 2, 1, 0.5, 0.05))
    assert labels._repr_html_() == f"<p>{sentence(labels.finding)}</p>"
