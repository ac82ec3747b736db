"""Sections of the Words page: the prompts in use, whether the wording matters, and any text against the image."""

import streamlit as st

from dashboard import session
from dashboard.components import common
from dashboard.plots import decomposition
from dashboard.services import compute
from dashboard.services.compute import Analysis
from dashboard.text import escaped
from lake_core.detector.result import ImageResult
from lake_core.errors import LakeError
from lake_core.experiments.prompt_sensitivity import prompt_sensitivity
from lake_core.experiments.text_similarity import phrase_map, prompt_table
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
    """The phrases of a text field: one a line, those that begin with # ablated."""
    return tuple(line.strip() for line in text.splitlines() if line.strip() and not line.strip().startswith("#"))


def _use_prompts() -> None:
    """Before the sidebar is drawn, since the prompts are a part of the configuration."""
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


def prompts(found: Analysis, score: ImageResult) -> None:
    """The ensemble to edit, and how similar each prompt is to the patch and the image."""
    used = found.lake.config.prompts
    texts = st.session_state.get("prompt_texts") or _texts_of(used)
    with st.form("prompt_form"):
        st.markdown(
            "Every phrase stands in every template. One a line; `{}` is the object name, or the phrase; a line that "
            "begins with `#` is ablated. The object name is in the sidebar."
        )
        for column, (name, label) in zip(st.columns(3), FIELDS.items(), strict=True):
            st.session_state.setdefault(f"typed_{name}", texts[name])
            column.text_area(label, key=f"typed_{name}", height=250)
        st.form_submit_button("Use these prompts", on_click=_use_prompts, type="primary")
    is_built_in = used == PromptEnsemble() and texts == _texts_of(used)
    st.button("Back to the built-in prompts", on_click=_forget_prompts, disabled=is_built_in)
    chosen = session.focus().patch
    if chosen is None or not (0 <= chosen < score.map.size and score.patch_scores.inside[chosen]):
        chosen = score.patch
    patch = int(chosen)
    table = prompt_table(found.lake, score.image, patch)
    st.subheader("How alike they are", anchor=False)
    what = "the max-scoring patch" if patch == score.patch else f"patch {patch}"
    st.caption(f"Cosine with {what} and with the whole image, mean over templates. Differences are small by nature.")
    by_phrase = table.groupby(["state", "phrase"], sort=False)[["cos_patch", "cos_image"]].mean().reset_index()
    st.plotly_chart(
        decomposition.prompt_bars(by_phrase), key="prompt_bars", alt="Similarity of each phrase to patch and image"
    )
    by_template = table.groupby(["template", "state"], sort=False)[["cos_patch", "cos_image"]].mean().reset_index()
    with st.expander("By template"):
        st.dataframe(by_template, hide_index=True, alt="Mean similarity by template")
    with st.expander(f"All {len(table)} prompts"):
        st.dataframe(table, hide_index=True, alt="Similarity of every prompt")
    common.download_table(table, "prompts.csv")


# Wording -------------------------------------------------------------------------------------------------------------


def wording(found: Analysis, score: ImageResult) -> None:
    """Whether the answer depends on a phrase."""
    st.markdown(
        "One prompt, phrase or template left out at a time, synonyms, and other names for the object: does the score "
        "stay, and does the decision?"
    )
    key = ("wording", found.result_key, score.threshold, score.image.sha256)
    result = common.computed(
        key,
        "Asking in other words",
        lambda show: prompt_sensitivity(found.lake, score.image, on_progress=show),
    )
    if result is not None:
        common.sensitivity(result, "wording")


# Any text ------------------------------------------------------------------------------------------------------------


def any_text(found: Analysis, score: ImageResult) -> None:
    """A typed phrase against every patch of the image."""
    text = st.text_input("A phrase", "a scratch on metal", key="any_text", max_chars=200)
    if not text.strip():
        st.caption("Type a phrase to see where the image is like it.")
        return
    result = phrase_map(found.lake, score.image, text)
    image = score.image
    left, right = st.columns(2)
    left.image(
        compute.plain_image(image.sha256, 512, image),
        width="stretch",
        caption=escaped(image.name),
        alt=image.name,
    )
    if result.relative is None:
        st.info(
            f"All normal patches are alike to “{escaped(result.text)}” (cosine {result.m50:.3f}), so there is no "
            "scale to set this image against. Try another phrase.",
            icon=":material/translate:",
        )
        return
    right.image(
        overlay(image, result.relative, result.grid, result.placement, TEXT_SCALE),
        width="stretch",
        caption=f"“{escaped(result.text)}”",
        alt=f"Where {image.name} is like “{result.text}”",
        output_format="JPEG",
    )
    percentile = found.lake.config.calibration_percentile
    st.image(
        colour_bar(TEXT_SCALE, 420, 52, common.is_dark(), mark=percentile),
        alt=f"Scale from 0, the median of the normal patches, over 1, their {percentile}, to 2 and more",
    )
    st.caption(
        f"0 is the median of the normal patches, 1 their {percentile}. Cosine with "
        f"the whole image: {result.cos_image:.3f}; with the normal patches: {result.m50:.3f} (median) to "
        f"{result.m99:.3f}. A small model's text side is weak: try a word that should not fit, too."
    )


SECTIONS = {"Prompts": prompts, "Does the wording matter?": wording, "Any text": any_text}
