"""Sections of the Words page: the prompts in use, whether the wording matters, and any text against the picture."""

import streamlit as st

from dashboard import session
from dashboard.components import common
from dashboard.plots import decomposition
from dashboard.services import compute
from dashboard.services.compute import Analysis
from dashboard.text import escaped
from lake_core.detector.scoring import ImageScore
from lake_core.errors import LakeError
from lake_core.experiments.prompt_sensitivity import wording_sensitivity
from lake_core.experiments.text_similarity import prompt_table, text_map
from lake_core.prompts import PromptEnsemble
from lake_core.visualization.overlays import ScoreScale, colour_bar, overlay

FIELDS = {
    "normal_states": "Phrases for normal",
    "anomalous_states": "Phrases for anomalous",
    "templates": "Templates around a phrase",
}
TEXT_SCALE = ScoreScale(vmax=2.0, threshold=1.0, is_open=True)


# Prompts -------------------------------------------------------------------------------------------------------------


def lines_of(text: str) -> tuple[str, ...]:
    """The phrases of a text field: one a line, those that begin with # switched off."""
    return tuple(line.strip() for line in text.splitlines() if line.strip() and not line.strip().startswith("#"))


def _use_prompts() -> None:
    """Before the sidebar is drawn, since the prompts are a part of the set-up."""
    typed = {name: st.session_state[f"typed_{name}"] for name in FIELDS}
    st.session_state.prompt_texts = typed
    try:
        st.session_state.prompts = PromptEnsemble(**{name: lines_of(text) for name, text in typed.items()})
    except LakeError as error:
        session.say([str(error)])


def _forget_prompts() -> None:
    st.session_state.prompts = None
    st.session_state.pop("prompt_texts", None)
    for name, text in _texts_of(PromptEnsemble()).items():
        st.session_state[f"typed_{name}"] = text


def _texts_of(ensemble: PromptEnsemble) -> dict[str, str]:
    """What the text fields say of an ensemble."""
    return {name: "\n".join(getattr(ensemble, name)) for name in FIELDS}


def prompts(found: Analysis, score: ImageScore) -> None:
    """The ensemble to edit, and how similar each prompt is to the patch and the picture."""
    used = found.lake.config.prompts
    texts = st.session_state.get("prompt_texts") or _texts_of(used)
    with st.form("prompt_form"):
        st.markdown(
            "Every phrase stands in every template. One a line; `{}` is the object name, or the phrase; a line that "
            "begins with `#` is switched off. The object name is in the sidebar."
        )
        for column, (name, label) in zip(st.columns(3), FIELDS.items(), strict=True):
            st.session_state.setdefault(f"typed_{name}", texts[name])
            column.text_area(label, key=f"typed_{name}", height=250)
        st.form_submit_button("Use these prompts", on_click=_use_prompts, type="primary")
    is_built_in = used == PromptEnsemble() and texts == _texts_of(used)
    st.button("Back to the built-in prompts", on_click=_forget_prompts, disabled=is_built_in)
    chosen = session.focus().patch
    if chosen is None or not (0 <= chosen < score.map.size and score.witnesses.inside[chosen]):
        chosen = score.patch
    patch = int(chosen)
    table = prompt_table(found.lake, score.picture, patch)
    st.subheader("How alike they are", anchor=False)
    what = "the deciding patch" if patch == score.patch else f"patch {patch}"
    st.caption(f"Cosine with {what} and with the whole picture, mean over templates. Differences are small by nature.")
    by_phrase = table.groupby(["state", "phrase"], sort=False)[["cos_patch", "cos_picture"]].mean().reset_index()
    st.plotly_chart(
        decomposition.prompt_bars(by_phrase), key="prompt_bars", alt="Similarity of each phrase to patch and picture"
    )
    by_template = table.groupby(["template", "state"], sort=False)[["cos_patch", "cos_picture"]].mean().reset_index()
    with st.expander("By template"):
        st.dataframe(by_template, hide_index=True, alt="Mean similarity by template")
    with st.expander(f"All {len(table)} prompts"):
        st.dataframe(table, hide_index=True, alt="Similarity of every prompt")
    common.download_table(table, "prompts.csv")


# Wording -------------------------------------------------------------------------------------------------------------


def wording(found: Analysis, score: ImageScore) -> None:
    """Whether the answer depends on a phrase."""
    st.markdown(
        "One prompt, phrase or template left out at a time, synonyms, and other names for the object: does the score "
        "stay, and does the decision?"
    )
    key = ("wording", found.result_key, score.threshold, score.picture.sha256)
    result = common.computed(
        key,
        "Asking in other words",
        lambda show: wording_sensitivity(found.lake, score.picture, on_progress=show, heard=score.witnesses),
    )
    if result is not None:
        common.sensitivity(result, "wording")


# Any text ------------------------------------------------------------------------------------------------------------


def any_text(found: Analysis, score: ImageScore) -> None:
    """A typed phrase against every patch of the picture."""
    text = st.text_input("A phrase", "a scratch on metal", key="any_text", max_chars=200)
    if not text.strip():
        st.caption("Type a phrase to see where the picture is like it.")
        return
    result = text_map(found.lake, score.picture, text)
    picture = score.picture
    left, right = st.columns(2)
    left.image(
        compute.plain_picture(picture.sha256, 512, picture),
        width="stretch",
        caption=escaped(picture.name),
        alt=picture.name,
    )
    if result.relative is None:
        st.info(
            f"All normal patches are alike to “{escaped(result.text)}” (cosine {result.m50:.3f}), so there is no "
            "scale to set this picture against. Try another phrase.",
            icon=":material/translate:",
        )
        return
    right.image(
        overlay(picture, result.relative, result.grid, result.placement, TEXT_SCALE),
        width="stretch",
        caption=f"“{escaped(result.text)}”",
        alt=f"Where {picture.name} is like “{result.text}”",
        output_format="JPEG",
    )
    percentile = found.lake.config.calibration_percentile
    st.image(
        colour_bar(TEXT_SCALE, 420, 52, common.is_dark(), mark=percentile),
        alt=f"Scale from 0, the median of the normal patches, over 1, their {percentile}, to 2 and more",
    )
    st.caption(
        f"0 is the median of the normal patches, 1 their {percentile}. Cosine with "
        f"the whole picture: {result.cos_picture:.3f}; with the normal patches: {result.m50:.3f} (median) to "
        f"{result.m99:.3f}. A small model's text side is weak: try a word that should not fit, too."
    )


SECTIONS = {"Prompts": prompts, "Does the wording matter?": wording, "Any text": any_text}
