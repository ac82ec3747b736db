"""Whether a decision depends on a phrase: the score without each one, and in other words."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import pandas as pd

from lake_core.detector import Lake
from lake_core.features import Progress
from lake_core.images import Picture
from lake_core.prompts import PromptEnsemble
from lake_core.scoring import ImageScore
from lake_core.sensitivity import AS_IS, COLUMNS, Sensitivity, families, side, some
from lake_core.wording import joint_place, reworded, reworded_witnesses

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


def wording_sensitivity(
    lake: Lake,
    picture: Picture,
    state_words: Mapping[str, tuple[Sequence[str], Sequence[str]]] = STATE_WORDS,
    object_names: Sequence[str] = OBJECT_NAMES,
    on_progress: Progress | None = None,
) -> Sensitivity:
    """The score of a picture in other words, each with a text part and a threshold learned anew.

    Args:
        lake: Fitted.
        picture: Any picture.
        state_words: Name -> phrases for the normal and for the anomalous state, instead of the detector's.
        object_names: Other names for what the pictures show; the detector's own is skipped.
        on_progress: Called after each wording; may raise to cancel.
    Raises:
        LakeError: if the backbone has no patch directions.
    """
    joint_place(lake)
    plan = list(_wordings(lake.config.prompts, lake.config.object_name, state_words, object_names))
    before = lake.score(picture)
    rows = [_row(AS_IS, AS_IS, before)]
    for n_done, (family, what, prompts, name) in enumerate(plan, start=1):
        other = reworded(lake, prompts, name)
        rows.append(_row(family, what, other.fuse(reworded_witnesses(other, before.witnesses))))
        if on_progress is not None:
            on_progress(n_done, len(plan))
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    return Sensitivity(table, _sentence(lake, table))


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


def _row(family: str, what: str, result: ImageScore) -> tuple[str, str, float, float, float, bool]:
    return family, what, result.score, result.cross_modal, result.threshold, result.is_anomalous


def _sentence(lake: Lake, table: pd.DataFrame) -> str:
    if lake.config.text_weight == 0:
        return "The text weight is 0, so no wording can change the score."
    if len(table) == 1:
        return "There is no other wording to try."
    score, decision = float(table["score"].iloc[0]), bool(table["is_anomalous"].iloc[0])
    turned = table[table["is_anomalous"] != decision]
    by_phrase = turned[turned["family"] == WITHOUT_PHRASE]
    summary = families(table)
    n_phrases = int(summary.loc[summary["family"] == WITHOUT_PHRASE, "n"].sum())
    if len(by_phrase):
        story = (
            f"The decision depends on a phrase: without one of them it turns ({len(by_phrase)} of {n_phrases} phrases: "
            f"{'; '.join(by_phrase['what'].iloc[:3])})"
        )
    elif len(turned):
        story = (
            f"No single phrase decides, but the choice of words does: the decision turns in {len(turned)} of "
            f"{len(table) - 1} wordings ({some(turned)})"
        )
    else:
        story = f"The decision does not depend on the wording: it is the same in all {len(table) - 1} that were tried"
    low, high = table["score"].min(), table["score"].max()
    return f"{story}. The score is {score:.3g}, {side(decision)}, and between {low:.3g} and {high:.3g} in other words."
