"""Findings in English: every finding has a sentence, and it claims what the numbers say."""

import pytest

from lake_core.findings import LayerAblated, LayerLeftOut, TextLeftOut
from lake_core.sentences import sentence


@pytest.mark.parametrize(
    ("finding", "expected"),
    [
        (LayerLeftOut(3), "Layer 3 is left out: its neurons do not vary over the normal images."),
        (
            LayerAblated(2),
            "The remaining neurons of layer 2 do not vary over the normal images; the whole layer counts as ablated.",
        ),
        (
            TextLeftOut("no patch directions", "native-vit"),
            "The text part is left out: the head of native-vit cannot be applied to single patches.",
        ),
        (
            TextLeftOut("no contrast", "native-vit"),
            "The text part is left out: its margin is the same for all normal patches.",
        ),
    ],
)
def test_what_a_fit_leaves_out_is_said_with_its_reason(finding: object, expected: str) -> None:
    assert sentence(finding) == expected


def test_what_is_no_finding_has_no_sentence() -> None:
    with pytest.raises(TypeError, match="str is no finding"):
        sentence("Layer 3 is left out")
