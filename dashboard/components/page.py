"""What every page begins with: title, what it shows, notices from before; and whose images a sample's are."""

from collections.abc import Callable

import streamlit as st

from dashboard.components import tour
from dashboard.session import current
from dashboard.text import escaped
from dashboard.words import light
from lake_core.data.samples import measured_sample, sample_facts

MOST_NOTICES = 4


def heading(title: str, summary: str, beside_offer: Callable[[], None] | None = None) -> None:
    """A page's title, what it shows in one sentence, the offer of a tour, and the notices that wait to be read.

    Args:
        beside_offer: Draws what stands in one line with the offer.
    """
    st.title(title, anchor=False)
    st.markdown(summary)
    tour.offer(beside_offer)
    _notices(current().take_notices())


def credit() -> None:
    """In the sidebar while a sample is open: whose photographs these are, and what else tells their defects apart."""
    sample = current().workspace.sample
    if (facts := sample_facts(sample)) is not None:
        measured = measured_sample(sample)
        warnings = " ".join([] if measured is None else light(measured))
        st.sidebar.caption(f"Sample {sample}. {facts.credit} {warnings}")


def error(message: str) -> None:
    """One sentence about what went wrong."""
    st.error(escaped(message), icon=":material/error:")


def warn(message: str) -> None:
    """One sentence about what is doubtful."""
    st.warning(escaped(message), icon=":material/warning:")


def is_dark() -> bool:
    return st.context.theme.type == "dark"


def _notices(sentences: list[str]) -> None:
    """Shows sentences, and keeps long lists short."""
    if len(sentences) > MOST_NOTICES:
        st.warning(f"{len(sentences)} remarks about your files.", icon=":material/info:")
        with st.expander("Read them", expanded=True):
            st.markdown("\n".join(f"- {escaped(sentence)}" for sentence in sentences))
    else:
        for sentence in sentences:
            st.warning(escaped(sentence), icon=":material/info:")
