"""Findings in English: the one place that words them, for the screen, the command line and notebooks alike."""

from functools import singledispatch

from lake_core.findings import LayerAblated, LayerLeftOut, TextLeftOut


@singledispatch
def sentence(finding: object) -> str:
    """A finding in one or a few English sentences.

    Raises:
        TypeError: if it is not a finding of `lake_core.findings`.
    """
    raise TypeError(f"{type(finding).__name__} is no finding")


@sentence.register
def _(finding: LayerLeftOut) -> str:
    return f"Layer {finding.layer} is left out: its neurons do not vary over the normal images."


@sentence.register
def _(finding: LayerAblated) -> str:
    return (
        f"The remaining neurons of layer {finding.layer} do not vary over the normal images; "
        "the whole layer counts as ablated."
    )


@sentence.register
def _(finding: TextLeftOut) -> str:
    reasons = {
        "no patch directions": f"the head of {finding.spec} cannot be applied to single patches",
        "no contrast": "its margin is the same for all normal patches",
    }
    return f"The text part is left out: {reasons[finding.reason]}."
