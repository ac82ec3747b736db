"""Whether a decision depends on the wording: the score without each prompt, phrase or template, and in other words."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Literal

import pandas as pd

from lake_core.data.images import InputImage
from lake_core.detector.lake import Lake
from lake_core.detector.scoring import ImageResult, PatchScores
from lake_core.experiments.leave_one_prompt_out import WithoutPrompt, without_each_prompt
from lake_core.experiments.perturbation_table import (
    AS_IS,
    COLUMNS,
    PerturbationTable,
    perturbation_finding,
    turned_rows,
)
from lake_core.experiments.text_similarity import joint_hook_point, patch_scores_with_prompts, with_prompts
from lake_core.findings import Dependence, PromptSensitivityFinding
from lake_core.prompts import PromptEnsemble
from lake_core.types import Progress

WITHOUT_PROMPT = "without one prompt"
WITHOUT_PHRASE = "without a phrase"
WITHOUT_TEMPLATE = "without a template"
SYNONYMS = "other state words"
OTHER_NAMES = "other object name"

STATE_WORDS: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "normal / abnormal": (("normal {}",), ("abnormal {}",)),
    "good / bad": (("good {}",), ("bad {}",)),
    "intact / damaged": (("intact {}", "undamaged {}"), ("damaged {}", "broken {}")),
    "flawless / flawed": (("flawless {}", "faultless {}"), ("flawed {}", "faulty {}")),
    "clean / contaminated": (("clean {}", "spotless {}"), ("dirty {}", "stained {}", "contaminated {}")),
    "new / worn": (("brand new {}", "{} in mint condition"), ("worn {}", "{} in bad condition")),
}
"""Other phrases for the two states, that nobody would call wrong: name -> normal phrases, anomalous phrases."""
OBJECT_NAMES = ("object", "part", "product", "surface", "material")


def prompt_sensitivity(
    lake: Lake,
    image: InputImage,
    state_words: Mapping[str, tuple[Sequence[str], Sequence[str]]] = STATE_WORDS,
    object_names: Sequence[str] = OBJECT_NAMES,
    on_progress: Progress | None = None,
    computed: PatchScores | None = None,
) -> PerturbationTable:
    """The score of a image in other words, each with a text part and a threshold learned anew.

    Left out at a time are each single prompt (a phrase in one template; 90 with the built-in ensemble), each phrase
    with all its prompts, and each template with all its prompts. Then come other state words and other object names.

    Args:
        lake: Fitted.
        image: Any image.
        state_words: Name -> phrases for the normal and for the anomalous state, instead of the detector's.
        object_names: Other names for what the images show; the detector's own is skipped.
        on_progress: Called after the single prompts and after each other wording; may raise to cancel.
        heard: `lake.measure` of the image, where the caller has it already.
    Raises:
        LakeError: if the backbone has no patch directions.
    """
    joint_hook_point(lake)
    plan = list(_wordings(lake.config.prompts, lake.config.object_name, state_words, object_names))
    before = lake.explain(image) if computed is None else lake.aggregate(computed)
    rows = [_row(AS_IS, AS_IS, before)]
    rows += [_row(WITHOUT_PROMPT, one.prompt, one) for one in without_each_prompt(lake, before)]
    if on_progress is not None:
        on_progress(1, 1 + len(plan))
    for n_done, (family, what, prompts, name) in enumerate(plan, start=2):
        other = with_prompts(lake, prompts, name)
        rows.append(_row(family, what, other.aggregate(patch_scores_with_prompts(other, before.patch_scores))))
        if on_progress is not None:
            on_progress(n_done, 1 + len(plan))
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    return PerturbationTable(table, _finding(lake, table))


def _wordings(
    prompts: PromptEnsemble,
    name: str,
    state_words: Mapping[str, tuple[Sequence[str], Sequence[str]]],
    object_names: Sequence[str],
) -> Iterator[tuple[str, str, PromptEnsemble, str]]:
    """Family, what, prompts and object name; the last phrase of a state and the last template cannot be left out."""
    for field, family in (
        ("normal_states", WITHOUT_PHRASE),
        ("anomalous_states", WITHOUT_PHRASE),
        ("templates", WITHOUT_TEMPLATE),
    ):
        texts = getattr(prompts, field)
        for i, text in enumerate(texts if len(texts) > 1 else ()):
            what = text if field == "templates" else f"{field.removesuffix('_states')}: {text.replace('{}', name)}"
            yield family, what, replace(prompts, **{field: texts[:i] + texts[i + 1 :]}), name
    for what, (normal, anomalous) in state_words.items():
        yield SYNONYMS, what, replace(prompts, normal_states=tuple(normal), anomalous_states=tuple(anomalous)), name
    for other in object_names:
        if other != name:
            yield OTHER_NAMES, other, prompts, other


def _row(family: str, what: str, result: ImageResult | WithoutPrompt) -> tuple[str, str, float, float, float, bool]:
    return family, what, result.score, result.text, result.threshold, result.is_anomalous


def _finding(lake: Lake, table: pd.DataFrame) -> PromptSensitivityFinding:
    turned = turned_rows(table)
    families: tuple[tuple[Literal["prompt", "phrase"], str], ...] = (
        ("prompt", WITHOUT_PROMPT),
        ("phrase", WITHOUT_PHRASE),
    )
    each = (
        Dependence(of, int((table["family"] == family).sum()), tuple(turned["what"][turned["family"] == family]))
        for of, family in families
    )
    one_less = table["score"][table["family"] == WITHOUT_PROMPT]
    return PromptSensitivityFinding(
        lake.config.fusion_weight,
        perturbation_finding(table),
        tuple(one for one in each if one.turning),
        (float(one_less.min()), float(one_less.max())) if len(one_less) else None,
    )
