"""Whether a decision depends on the wording: the score without each prompt, phrase or template, and in other words."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import pandas as pd

from lake_core.data.images import InputImage
from lake_core.detector.lake import Lake
from lake_core.detector.scoring import ImageResult, PatchScores
from lake_core.experiments.leave_one_prompt_out import WithoutPrompt, without_each_prompt
from lake_core.experiments.perturbation_table import AS_IS, COLUMNS, PerturbationTable, side, some
from lake_core.experiments.text_similarity import joint_hook_point, patch_scores_with_prompts, with_prompts
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
    return PerturbationTable(table, _sentence(lake, table))


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


def _sentence(lake: Lake, table: pd.DataFrame) -> str:
    if lake.config.fusion_weight == 0:
        return "The fusion weight is 0, so no wording can change the score."
    if len(table) == 1:
        return "There is no other wording to try."
    score, decision = float(table["score"].iloc[0]), bool(table["is_anomalous"].iloc[0])
    turned = table[table["is_anomalous"] != decision]
    single = _max_scoring(table, turned, WITHOUT_PROMPT, "prompt") + _max_scoring(
        table, turned, WITHOUT_PHRASE, "phrase"
    )
    if single:
        story = f"The decision depends on {' and on '.join(single)}"
    elif len(turned):
        story = (
            f"No single prompt or phrase decides, but the choice of words does: the decision turns in {len(turned)} of "
            f"{len(table) - 1} wordings ({some(turned)})"
        )
    else:
        story = f"The decision does not depend on the wording: it is the same in all {len(table) - 1} that were tried"
    spread = f"in all wordings between {table['score'].min():.3f} and {table['score'].max():.3f}"
    one_less = table["score"][table["family"] == WITHOUT_PROMPT]
    if len(one_less):
        spread = f"without any one prompt it is between {one_less.min():.3f} and {one_less.max():.3f}, {spread}"
    return f"{story}. The score is {score:.3f}, {side(decision)}; {spread}."


def _max_scoring(table: pd.DataFrame, turned: pd.DataFrame, family: str, what: str) -> list[str]:
    """The prompts or phrases without which the decision turns, in words; empty where there is none."""
    rows = turned[turned["family"] == family]
    if not len(rows):
        return []
    n, names = (table["family"] == family).sum(), "; ".join(rows["what"].iloc[:3])
    return [f"a single {what} (without it the decision turns, for {len(rows)} of {n}: {names})"]
