"""The score without each single prompt, all of them at once: there are as many as phrases times templates."""

from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from lake_core.backbones.patch_grid import coarse_of_fine
from lake_core.detector.lake import Lake
from lake_core.detector.memory_bank import margin_range
from lake_core.detector.scoring import ImageResult, top_patches, visual_map
from lake_core.experiments.text_similarity import joint_hook_point
from lake_core.metrics.decision import is_anomalous
from lake_core.prompts import text_directions


class WithoutPrompt(NamedTuple):
    """The score of a image without one prompt; the text part and the threshold are learned anew.

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


def without_each_prompt(lake: Lake, before: ImageResult) -> list[WithoutPrompt]:
    """Leaves one prompt out at a time, a phrase in one template, where `with_prompts` can leave out all of a phrase.

    The numbers are those of a detector fitted with the other prompts, to float32 rounding. The last prompt of a state
    cannot be left out.

    Args:
        lake: Fitted.
        before: The image's score by it.
    Raises:
        LakeError: if the backbone has no patch directions.
    """
    memory_bank, config, hook_point = lake.fitted(), lake.config, joint_hook_point(lake)
    names, directions_de = _directions(lake)
    if not names:
        return []
    own_idp = directions_de @ lake.store.stack(lake.normals_, hook_point).transpose(1, 2)
    known_dn = torch.cat(
        [own[:, on] for own, on in zip(own_idp, lake.backbone.inside(lake.normals_, hook_point), strict=True)], 1
    )
    m50_d, m99_d = margin_range(known_dn.numpy(), config.calibration_quantile)
    speaks = (m99_d > m50_d)[:, None]
    weight = np.where(speaks, config.fusion_weight, 0.0)
    m50, span = m50_d[:, None], np.where(speaks, (m99_d - m50_d)[:, None], 1.0)
    under = coarse_of_fine(memory_bank.grid, lake.backbone.grid(hook_point))

    def maps(visual: np.ndarray, margin_dp: Tensor) -> tuple[np.ndarray, np.ndarray]:
        """F and C of a image, each (n_prompts, n_patches of the fused grid) float64."""
        text_part = np.where(speaks, np.maximum((margin_dp.numpy() - m50) / span, 0.0), 0.0)[:, under]
        return (1 - weight) * visual + weight * text_part, text_part

    def top(values: np.ndarray, order: np.ndarray) -> np.ndarray:
        mean: np.ndarray = np.take_along_axis(values, order, 1).mean(1)
        return mean

    own_visual = visual_map(memory_bank, {layer.selection.layer: layer.own_distance for layer in memory_bank.layers})
    own_scores = []
    for normal, visual, margin_dp in zip(lake.normals_, own_visual, own_idp, strict=True):
        fused, _ = maps(visual, margin_dp)
        inside = memory_bank.grid.inside(lake.backbone.placement(normal))
        own_scores.append(top(fused, top_patches(fused, inside, config.top_q)))
    thresholds = np.quantile(own_scores, config.threshold_quantile, axis=0)
    if lake.own_threshold is not None:
        thresholds = np.full_like(thresholds, lake.own_threshold)

    fused, text_part = maps(before.patch_scores.visual, directions_de @ lake.store.get(before.image, hook_point).T)
    order = top_patches(fused, before.patch_scores.inside, config.top_q)
    numbers = zip(top(fused, order).tolist(), top(text_part, order).tolist(), thresholds.tolist(), strict=True)
    return [WithoutPrompt(name, *row) for name, row in zip(names, numbers, strict=True)]


def _directions(lake: Lake) -> tuple[list[str], Tensor]:
    """The prompts that can be left out, and (n_prompts, joint) anomalous less normal direction without each."""
    prompts, name = lake.config.prompts, lake.config.object_name
    normal, anomalous = prompts.normal_texts(name), prompts.anomalous_texts(name)
    rows = lake.backbone.encode_text([*normal, *anomalous])
    whole = text_directions(lake.backbone.encode_text, prompts, name)
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
