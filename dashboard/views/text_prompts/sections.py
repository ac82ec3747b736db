"""Sections of the page Text prompts: the prompts in use, prompt sensitivity, and any text against the image."""

import streamlit as st

from dashboard.components.legends import legend
from dashboard.components.progress import computed
from dashboard.components.tables import download_table, perturbations
from dashboard.plots import decomposition
from dashboard.services.analysis import Analysis
from dashboard.services.images import plain_image
from dashboard.session import current
from dashboard.text import escaped
from lake_core.detector.result import ImageResult
from lake_core.errors import LakeError
from lake_core.experiments.prompt_sensitivity import prompt_sensitivity
from lake_core.experiments.text_similarity import phrase_map, prompt_table
from lake_core.prompts import PromptEnsemble
from lake_core.visualization.colours import ScoreScale
from lake_core.visualization.crops import crop_with_box
from lake_core.visualization.overlays import overlay

FIELDS = {
    "normal_states": "Phrases for normal",
    "anomalous_states": "Phrases for anomalous",
    "templates": "Templates around a phrase",
}
TEXT_SCALE = ScoreScale(vmax=2.0, threshold=1.0, is_open=True)


# Prompts -------------------------------------------------------------------------------------------------------------


def lines_of(text: str) -> tuple[str, ...]:
    """The phrases of a text field: one per line, without those that begin with #."""
    return tuple(line.strip() for line in text.splitlines() if line.strip() and not line.strip().startswith("#"))


def _use_prompts() -> None:
    """Before the sidebar is drawn, since the prompts are a part of the configuration."""
    here = current()
    here.prompt_texts = {name: st.session_state[f"typed_{name}"] for name in FIELDS}
    try:
        prompts = PromptEnsemble(**{name: lines_of(text) for name, text in here.prompt_texts.items()})
    except LakeError as reason:
        here.say([str(reason)])
    else:
        here.set_settings(here.settings.having(prompts=prompts))


def forget_prompts() -> None:
    """Takes the built-in prompts again, also into the text fields; only before the sidebar is drawn."""
    here, built_in = current(), PromptEnsemble()
    here.prompt_texts = None
    here.set_settings(here.settings.having(prompts=built_in))
    for name, text in _texts_of(built_in).items():
        st.session_state[f"typed_{name}"] = text


def _texts_of(ensemble: PromptEnsemble) -> dict[str, str]:
    """What the text fields say of an ensemble."""
    return {name: "\n".join(getattr(ensemble, name)) for name in FIELDS}


def prompts(found: Analysis, score: ImageResult) -> None:
    """The ensemble to edit, and how similar each prompt is to the patch and the image."""
    used = found.lake.config.prompts
    texts = current().prompt_texts or _texts_of(used)
    with st.form("prompt_form"):
        st.markdown(
            "Every phrase is put into every template. One per line; `{}` is the object name in a phrase and the "
            "phrase in a template; lines that begin with `#` are ignored. Set the object name in the sidebar."
        )
        for column, (name, label) in zip(st.columns(3), FIELDS.items(), strict=True):
            st.session_state.setdefault(f"typed_{name}", texts[name])
            column.text_area(label, key=f"typed_{name}", height=250)
        is_fixed = current().is_read_only
        st.form_submit_button("Use these prompts", on_click=_use_prompts, type="primary", disabled=is_fixed)
    is_built_in = used == PromptEnsemble() and texts == _texts_of(used)
    st.button("Restore the built-in prompts", on_click=forget_prompts, disabled=is_built_in or is_fixed)
    chosen = current().focus.patch
    if chosen is None or not (0 <= chosen < score.map.size and score.patch_scores.inside[chosen]):
        chosen = score.patch
    patch = int(chosen)
    table = prompt_table(found.lake, score.image, patch)
    st.subheader("Similarity", anchor=False)
    what = "the max-scoring patch" if patch == score.patch else f"patch {patch}, which is fixed on the page Explain,"
    with st.container(horizontal=True, vertical_alignment="center"):
        _patch_in_image(score, patch)
        st.caption(
            f"Cosine with {what} and with the whole image, mean over templates. Differences are small by nature."
        )
    by_phrase = table.groupby(["state", "phrase"], sort=False)[["cos_patch", "cos_image"]].mean().reset_index()
    st.plotly_chart(
        decomposition.prompt_bars(by_phrase), key="prompt_bars", alt="Similarity of each phrase to patch and image"
    )
    by_template = table.groupby(["template", "state"], sort=False)[["cos_patch", "cos_image"]].mean().reset_index()
    with st.expander("By template"):
        st.dataframe(by_template, hide_index=True, alt="Mean similarity by template")
    with st.expander(f"All {len(table)} prompts"):
        st.dataframe(table, hide_index=True, alt="Similarity of every prompt")
    download_table(table, "prompts.csv")


def _patch_in_image(score: ImageResult, patch: int) -> None:
    """A patch with what surrounds it."""
    image, patch_scores = score.image, score.patch_scores
    box = patch_scores.grid.box(patch, patch_scores.placement, image.size)
    st.image(
        crop_with_box(image, box, context=7, side=140),
        width=140,
        alt=f"Patch {patch} of {image.name}",
        output_format="JPEG",
    )


# Sensitivity ---------------------------------------------------------------------------------------------------------


def sensitivity(found: Analysis, score: ImageResult) -> None:
    """Whether the answer depends on a phrase."""
    st.markdown(
        "Do score and decision hold without one prompt, phrase or template, with synonyms, and with other names for "
        "the object?"
    )
    key = ("prompt_sensitivity", found.result_key, score.threshold, score.image.sha256)
    result = computed(key, "Prompt variants", lambda show: prompt_sensitivity(found.lake, score, on_progress=show))
    if result is not None:
        perturbations(result, "prompt_sensitivity")


# Any text ------------------------------------------------------------------------------------------------------------


def any_text(found: Analysis, score: ImageResult) -> None:
    """A typed phrase against every patch of the image."""
    name = found.lake.config.object_name
    text = st.text_input("A phrase", f"a scratch on the {name}", key=f"any_text_{name}", max_chars=200)
    if not text.strip():
        st.caption("Type a phrase to see which patches resemble it.")
        return
    result = phrase_map(found.lake, score.image, text)
    image = score.image
    left, right = st.columns(2)
    left.image(plain_image(image, 512), width="stretch", caption=escaped(image.name), alt=image.name)
    if result.relative is None:
        st.info(
            f"All normal patches are equally similar to “{escaped(result.text)}” (cosine {result.m50:.3f}), so there "
            "is no scale for this image. Try another phrase.",
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
    legend(TEXT_SCALE, "the similarity", mark=percentile)
    st.caption(
        f"0 is the median of the normal patches, 1 their {percentile}. Cosine with "
        f"the whole image: {result.cos_image:.3f}; with the normal patches: {result.m50:.3f} (median) to "
        f"{result.m99:.3f}. A small model's text side is weak: also try a word that should not fit."
    )


SECTIONS = {"Prompts": prompts, "Prompt sensitivity": sensitivity, "Any text": any_text}
