"""Prompt sensitivity: the score without each prompt, phrase or template, and with other prompts; each learned anew."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor

from lake_core.config import TextConfig
from lake_core.detector.lake import Lake
from lake_core.detector.result import ImageResult
from lake_core.detector.scoring import coarse_under, fused_maps, pooled
from lake_core.detector.text import calibrated, margin_range, text_directions
from lake_core.experiments.perturbation_table import AS_IS, COLUMNS, PerturbationTable
from lake_core.experiments.text_similarity import joint_hook_point
from lake_core.findings.normals import PromptSensitivityFinding, Wordings
from lake_core.metrics.decision import is_anomalous
from lake_core.prompts import PromptEnsemble
from lake_core.types import Progress

WITHOUT_PROMPT = "without one prompt"
WITHOUT_PHRASE = "without a phrase"
WITHOUT_TEMPLATE = "without a template"
SYNONYMS = "other state words"
OTHER_NAMES = "other object name"
REWORDINGS = (SYNONYMS, OTHER_NAMES)
"""Families of other words for the same; in all others something is left out."""

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


class WithoutPrompt(NamedTuple):
    """The score of an image without one prompt; the text part and the threshold are learned anew.

    Attributes:
        prompt: The state and the whole text, such as "normal: a photo of a flawless plate."
        score, text, threshold: As of an `ImageResult`.
    """

    prompt: str
    score: float
    text: float
    threshold: float

    @property
    def is_anomalous(self) -> bool:
        """Whether the score is above its threshold."""
        return is_anomalous(self.score, self.threshold)


def prompt_sensitivity(
    lake: Lake,
    result: ImageResult,
    state_words: Mapping[str, tuple[Sequence[str], Sequence[str]]] = STATE_WORDS,
    object_names: Sequence[str] = OBJECT_NAMES,
    on_progress: Progress | None = None,
) -> PerturbationTable:
    """The score of an image in other words, each with a text part and a threshold learned anew.

    Left out at a time are each single prompt (a phrase in one template; 90 with the built-in ensemble), each phrase
    with all its prompts, and each template with all its prompts. Then come other state words and other object names.

    Args:
        lake: Fitted.
        result: What `lake` found on the image.
        state_words: Name -> phrases for the normal and for the anomalous state, instead of the detector's.
        object_names: Other names for what the images show; the detector's own is skipped.
        on_progress: Called after the single prompts and after each other wording; may raise to cancel.
    Raises:
        LakeError: if the backbone has no patch directions.
    """
    joint_hook_point(lake)
    plan = list(_wordings(lake.config.prompts, lake.config.object_name, state_words, object_names))
    rows = [_row(AS_IS, AS_IS, result)]
    rows += [_row(WITHOUT_PROMPT, one.prompt, one) for one in without_each_prompt(lake, result)]
    if on_progress is not None:
        on_progress(1, 1 + len(plan))
    for n_done, (family, what, prompts, name) in enumerate(plan, start=2):
        other = lake.with_prompts(prompts, name)
        rows.append(_row(family, what, other.aggregate(other.with_own_text(result.patch_scores))))
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
    first, others = table.iloc[0], table.iloc[1:]
    is_reworded = others["family"].isin(REWORDINGS)
    return PromptSensitivityFinding(
        lake.config.fusion_weight,
        float(first["score"]),
        bool(first["is_anomalous"]),
        reworded=_of_sort(others[is_reworded], first["is_anomalous"]),
        left_out=_of_sort(others[~is_reworded], first["is_anomalous"]),
    )


def _of_sort(rows: pd.DataFrame, was_anomalous: bool) -> Wordings | None:
    """What wordings of one sort do, or None without any."""
    if rows.empty:
        return None
    turned = rows[rows["is_anomalous"] != was_anomalous]
    names = tuple(f"{row.family}: {row.what}" for row in turned.itertuples())
    return Wordings(len(rows), names, float(rows["score"].min()), float(rows["score"].max()))


def without_each_prompt(lake: Lake, before: ImageResult) -> list[WithoutPrompt]:
    """Leaves one prompt out at a time: a phrase in one template.

    The numbers are those of a detector fitted with the other prompts, to float32 rounding. The last prompt of a state
    cannot be left out.

    Args:
        lake: Fitted.
        before: The image's result by it.
    Raises:
        LakeError: if the backbone has no patch directions.
    """
    memory_bank, config, hook_point = lake.fitted(), lake.config, joint_hook_point(lake)
    names, directions_de = _directions(lake)
    if not names:
        return []
    joint_ipe, inside_ip = lake.store.patches(lake.normals_, hook_point)
    own_idp = directions_de @ joint_ipe.transpose(1, 2)
    known_dn = own_idp.transpose(0, 1)[:, inside_ip]
    m50_d, m99_d = (
        torch.from_numpy(values)[:, None] for values in margin_range(known_dn.numpy(), config.calibration_quantile)
    )
    has_contrast = m99_d > m50_d
    weight_d = torch.where(has_contrast, config.fusion_weight, 0.0)
    m99_d = torch.where(has_contrast, m99_d, m50_d + 1)
    under = coarse_under(memory_bank.grid, lake.backbone.grid(hook_point), own_idp.device)

    def text_maps(margin_dp: Tensor) -> Tensor:
        """(..., n_prompts, n_patches of the fused grid) float64; 0 where a prompt leaves no contrast."""
        return torch.where(has_contrast, calibrated(margin_dp.double(), m50_d, m99_d), 0.0)[..., under]

    visual_ip, on_fused_ip = lake.normal_maps()
    fused_idp = fused_maps(visual_ip[:, None], text_maps(own_idp), weight_d)
    own_scores_id = pooled(fused_idp, on_fused_ip[:, None], config.top_q).score
    thresholds = np.quantile(own_scores_id.numpy(), config.threshold_quantile, axis=0)
    if lake.own_threshold is not None:
        thresholds = np.full_like(thresholds, lake.own_threshold)

    text_dp = text_maps(directions_de @ lake.store.get(before.image, hook_point).T)
    inside = torch.from_numpy(before.patch_scores.inside)
    best = pooled(
        fused_maps(torch.from_numpy(before.patch_scores.visual), text_dp, weight_d), inside, len(before.patches)
    )
    text_d = text_dp.gather(1, best.patches).mean(1)
    numbers = zip(best.score.tolist(), text_d.tolist(), thresholds.tolist(), strict=True)
    return [WithoutPrompt(name, *row) for name, row in zip(names, numbers, strict=True)]


def _directions(lake: Lake) -> tuple[list[str], Tensor]:
    """The prompts that can be left out, and (n_prompts, joint) anomalous less normal direction without each."""
    prompts, name = lake.config.prompts, lake.config.object_name
    normal, anomalous = prompts.normal_texts(name), prompts.anomalous_texts(name)
    rows = lake.backbone.encode_text([*normal, *anomalous])
    whole = text_directions(lake.backbone.encode_text, lake.config.part(TextConfig))
    other_normal, other_anomalous = _means_of_others(rows[: len(normal)]), _means_of_others(rows[len(normal) :])
    names = [f"normal: {text}" for text in normal[: len(other_normal)]]
    names += [f"anomalous: {text}" for text in anomalous[: len(other_anomalous)]]
    return names, torch.cat([whole.anomalous - other_normal, other_anomalous - whole.normal])


def _means_of_others(rows: Tensor) -> Tensor:
    """For each row the mean of all other rows, scaled to length 1; none where there is no other."""
    n = len(rows)
    if n == 1:
        return rows[:0]
    return F.normalize((1 - torch.eye(n)) @ rows / (n - 1), dim=-1)
