"""Concept labels for a neuron by two routes, each tested against chance; many neurons get no label.

*Agreement*: which concept is similar to the patches where the neuron is active? After CLIP-Dissect (Oikarinen and Weng,
ICLR 2023, arXiv 2204.10965), which compares a neuron's activations with the similarities of images to words; here the
comparison is made per patch, by Pearson correlation over all patches of all images.

*Effect*: in which direction does the neuron's activity move the whole-image vector? After "Interpreting the
Second-Order Effects of Neurons in CLIP" (Gandelsman, Efros and Steinhardt, arXiv 2406.04341); `effects.py` computes
these effects.

A concept is reported only if its score beats the greatest score over the whole vocabulary under the null, so that the
level holds for the neuron however many concepts are tried (Westfall and Young, 1993). It holds per neuron: of many
neurons without meaning a share of up to `level` gets a label. A label is a hint, not a proof.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from lake_core.data.samples import assets_folder
from lake_core.errors import ConfigError
from lake_core.types import Progress, counted

NO_CONCEPT = "no concept label"
LEVEL = 0.05
TEMPLATES = ("a photo of {}.", "a close-up photo of {}.", "a photo of something with {}.")
_TIES = 1e-6
_FEWEST_CONCEPTS = 3


class ConceptScore(NamedTuple):
    """A concept, its score (a correlation or a cosine), and its p-value: null draws whose best concept does as well."""

    concept: str
    score: float
    p_value: float


@dataclass(frozen=True)
class ConceptLabels:
    """The concept labels of a neuron.

    Attributes:
        agreement: The best concepts by agreement, best first; empty where the route was not taken or gives nothing.
        effect: The best concepts by effect, likewise.
        effect_by: "down-projection" or "ablation"; None where the route was not taken.
        level: Greatest p-value at which a route reports a concept: the level of the neuron, divided by the routes
            taken.
    """

    neuron: int
    agreement: tuple[ConceptScore, ...] = field(default=(), repr=False)
    effect: tuple[ConceptScore, ...] = field(default=(), repr=False)
    effect_by: str | None = None
    level: float = LEVEL

    @property
    def concepts(self) -> tuple[str, ...]:
        """The concepts that beat chance, agreement's before effect's, each once; of a route at most its best three."""
        found = [
            one.concept for route in (self.agreement, self.effect) for one in route[:3] if one.p_value <= self.level
        ]
        return tuple(dict.fromkeys(found))

    @property
    def text(self) -> str:
        """The concepts with commas between them, or "no concept label"."""
        return ", ".join(self.concepts) or NO_CONCEPT


class Scores(NamedTuple):
    """Scores of neurons for concepts, (n_neurons, n_concepts) float64, NaN where there is none, and their p-values."""

    score: np.ndarray
    p_value: np.ndarray

    def best(self, row: int, concepts: Sequence[str], n: int = 5) -> tuple[ConceptScore, ...]:
        """The n best concepts of a neuron (a row), best first; none where it has no scores."""
        score, p_value = self.score[row], self.p_value[row]
        if np.isnan(score).any():
            return ()
        order = np.argsort(-score, kind="stable")[:n]
        return tuple(ConceptScore(concepts[i], float(score[i]), float(p_value[i])) for i in order)


def load_concepts(path: Path | str | None = None) -> tuple[str, ...]:
    """The concepts of a vocabulary file: one word or short phrase a line; lines that begin with # are headings.

    Args:
        path: A UTF-8 text file; None takes the vocabulary that comes with the program.
    Raises:
        ConfigError: if it cannot be read or holds fewer than three concepts.
    """
    file = assets_folder() / "concepts.txt" if path is None else Path(path)
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"The concepts in {file} cannot be read ({error}); give a UTF-8 text, one concept a line."
        ) from None
    return checked_concepts([line for line in lines if not line.lstrip().startswith("#")])


def checked_concepts(concepts: Sequence[str]) -> tuple[str, ...]:
    """The concepts stripped, each once.

    Raises:
        ConfigError: if fewer than three are left; a concept is distinguished from the others, so there must be some.
    """
    kept = tuple(dict.fromkeys(" ".join(concept.split()) for concept in concepts if concept.strip()))
    if len(kept) < _FEWEST_CONCEPTS:
        raise ConfigError(f"The vocabulary has {len(kept)} concepts; give at least {_FEWEST_CONCEPTS}, one a line.")
    return kept


def concept_directions(encode_text: Callable[[Sequence[str]], Tensor], concepts: Sequence[str]) -> np.ndarray:
    """The direction of each concept: its mean prompt embedding, less the mean over the vocabulary.

    Args:
        encode_text: Takes n texts, returns (n, joint) float32 rows of length 1; `Backbone.encode_text`.
        concepts: At least three.
    Returns:
        (n_concepts, joint) float64, rows of length 1.
    """
    texts = [template.replace("{}", concept) for concept in concepts for template in TEMPLATES]
    rows = F.normalize(encode_text(texts).reshape(len(concepts), len(TEMPLATES), -1).mean(1), dim=1).double()
    return F.normalize(rows - rows.mean(0), dim=1).numpy()


def agreement(
    maps_np: np.ndarray,
    joint_pj: np.ndarray,
    vocabularies: Sequence[np.ndarray],
    shapes: Sequence[tuple[int, int]],
    n_draws: int = 199,
    seed: int = 0,
    on_progress: Progress | None = None,
) -> list[Scores]:
    """How each neuron's maps correlate with each concept's similarity maps, against two nulls; both must be beaten.

    The map of a concept is patch direction times concept direction. *Shuffled maps*: the neuron's maps are shifted,
    mirrored or rotated, the same way in all images, and the images permuted: does the position matter? (The same way
    because images of one part are similar: shuffling each by itself would make the null too easy to beat.) *Rotated
    concepts*: all concept directions are rotated together at random in the joint space, which keeps their angles and
    takes their meaning: does the best concept do better than the best of as many arbitrary directions?

    Args:
        maps_np: (n_neurons, n_patches) maps of neurons, all patches of all images, image by image, row by row.
        joint_pj: (n_patches, joint) patch directions at the same patches.
        vocabularies: Of each (n_concepts, joint) from `concept_directions`; all are tested against the same draws.
        shapes: (rows, cols) of each image's map; their areas add up to n_patches.
        n_draws: Draws of either null.
        seed: Of both nulls.
        on_progress: Called with neurons done and in all; may raise to cancel.
    Returns:
        For each vocabulary Pearson correlations, and the greater of both nulls' p-values.
    """
    rng = np.random.default_rng(seed)
    joint = joint_pj.astype(np.float64) - joint_pj.mean(0, dtype=np.float64)
    neurons = maps_np.astype(np.float64) - maps_np.mean(1, keepdims=True, dtype=np.float64)
    length = np.linalg.norm(neurons, axis=1, keepdims=True)
    neurons = np.divide(
        neurons, length, out=np.full_like(neurons, np.nan), where=length > 1e-6 * np.sqrt(neurons.shape[1])
    )
    spread_jj = joint.T @ joint
    covariances_nj = neurons @ joint
    moves = _shuffles(shapes, n_draws, rng)
    beaten_by = np.empty((len(vocabularies), 2, n_draws, len(neurons)))
    for row in counted(range(len(neurons)), on_progress):
        shuffled_dj = neurons[row][moves] @ joint
        for i, directions_cj in enumerate(vocabularies):
            beaten_by[i, 0, :, row] = _correlations(shuffled_dj, directions_cj, spread_jj).max(1)
    for draw in range(n_draws):
        rotation = _rotation(joint.shape[1], rng)
        for i, directions_cj in enumerate(vocabularies):
            beaten_by[i, 1, draw] = _correlations(covariances_nj, directions_cj @ rotation, spread_jj).max(1)
    found = []
    for (shuffled, rotated), directions_cj in zip(beaten_by, vocabularies, strict=True):
        score = _correlations(covariances_nj, directions_cj, spread_jj)
        found.append(Scores(score, np.maximum(_p_values(score, shuffled), _p_values(score, rotated))))
    return found


def effect(effects_nj: np.ndarray, null_rj: np.ndarray, is_own_nr: np.ndarray, directions_cj: np.ndarray) -> Scores:
    """How far each neuron's effect on the whole-image vector points to each concept, against random neurons.

    Args:
        effects_nj: (n_neurons, joint) change of the whole-image vector that each neuron's activity causes.
        null_rj: (n_random, joint) the same for random neurons; those without any effect do not count.
        is_own_nr: (n_neurons, n_random) bool, True where the random neuron is the neuron itself and must not count.
        directions_cj: (n_concepts, joint) from `concept_directions`.
    Returns:
        Cosines, and p-values against the greatest cosine over the vocabulary of each random neuron.
    """
    score = _unit_rows(effects_nj) @ directions_cj.T
    best_r = (_unit_rows(null_rj) @ directions_cj.T).max(1)
    return Scores(score, _p_values(score, np.where(is_own_nr, np.nan, best_r[None]).T))


def _correlations(covariances_nj: np.ndarray, directions_cj: np.ndarray, spread_jj: np.ndarray) -> np.ndarray:
    """(n_neurons, n_concepts): correlation of neuron maps (mean 0, length 1) with concept maps that are never made."""
    length = np.sqrt(np.clip(((directions_cj @ spread_jj) * directions_cj).sum(1), 0, None))
    computed = length > 1e-9 * np.sqrt(max(np.trace(spread_jj), 1e-30))
    return np.where(computed, covariances_nj @ directions_cj.T / np.where(computed, length, 1), 0.0)


def _p_values(score_nc: np.ndarray, null_rn: np.ndarray) -> np.ndarray:
    """(n_neurons, n_concepts): (1 + draws that do as well) / (1 + draws); draws that are NaN do not count."""
    ordered, found = np.sort(null_rn, axis=0), np.isfinite(null_rn).sum(0)
    p_value = np.ones(score_nc.shape)
    for row, n_found in enumerate(found):
        as_good = n_found - np.searchsorted(ordered[:n_found, row], score_nc[row] - _TIES, side="left")
        p_value[row] = (1 + as_good) / (1 + n_found)
    return np.where(np.isnan(score_nc), 1.0, p_value)


def _shuffles(shapes: Sequence[tuple[int, int]], n_draws: int, rng: np.random.Generator) -> np.ndarray:
    """(n_draws, n_patches) int64: from where each patch takes its value. Images change places among equal shapes."""
    starts = np.cumsum([0, *(rows * cols for rows, cols in shapes)])
    draws = np.empty((n_draws, starts[-1]), dtype=np.int64)
    for draw in draws:
        shift, mirror, turns = rng.random(2), rng.integers(2), rng.integers(4)
        source = np.arange(len(shapes))
        moved = {shape: _moved(shape, shift, bool(mirror), int(turns)) for shape in set(shapes)}
        for shape in moved:
            alike = np.array([i for i, other in enumerate(shapes) if other == shape])
            source[alike] = rng.permutation(alike)
        for i, shape in enumerate(shapes):
            draw[starts[i] : starts[i + 1]] = starts[source[i]] + moved[shape]
    return draws


def _moved(shape: tuple[int, int], shift: np.ndarray, mirror: bool, turns: int) -> np.ndarray:
    """(rows * cols,) int64: from where each patch of a map of that shape takes its value."""
    rows, cols = shape
    cells = np.roll(np.arange(rows * cols).reshape(shape), (int(shift[0] * rows), int(shift[1] * cols)), axis=(0, 1))
    cells = cells[:, ::-1] if mirror else cells
    return np.rot90(cells, turns if rows == cols else 2 * (turns % 2)).reshape(-1)


def _rotation(width: int, rng: np.random.Generator) -> np.ndarray:
    """(width, width) a random rotation (Haar, up to reflection)."""
    q, r = np.linalg.qr(rng.normal(size=(width, width)))
    return q * np.sign(np.diag(r))


def _unit_rows(rows: np.ndarray) -> np.ndarray:
    """Rows scaled to length 1; NaN where a row is nothing but rounding."""
    rows = rows.astype(np.float64)
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(np.divide(rows, length, out=np.full_like(rows, np.nan), where=length > 1e-6))


def inside_maps(values_ipn: Tensor, inside_ip: np.ndarray) -> np.ndarray:
    """(n_neurons, n_patches on images) float32: maps of all images one after the other, patches off them left out."""
    maps: np.ndarray = values_ipn[torch.from_numpy(inside_ip)].numpy().T
    return maps
