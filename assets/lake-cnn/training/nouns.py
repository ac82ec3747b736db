"""A noun block from the network's own classifier, and a text tower that learns it and keeps its states; see README.md.

    python nouns.py --data FOLDER --start MODEL --vectors FILE --out FOLDER [--seed 0] [--steps 1500]

FOLDER holds what `phrases.py` wrote, `classifier.npz` and `minilm/`; MODEL is a checkpoint whose image projection is
timm's Mlp with its state block last (`joint.py`); FILE holds `vectors`, (n, 1280) float32, pooled final maps of images
of anything. Two cores, twenty minutes.
"""

import argparse
from pathlib import Path

import numpy as np
import text_tower
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from text_tower import Prompts, TextTower, directions, embedded
from torch import Tensor, nn

RANK = 191
"""Dimensions of the noun block; one more holds what a text does not say of classes, and is 0 for images."""
PUSH = 1.2
"""How far vectors are pushed towards a class at most, as a share of their length."""
RIDGE = 30.0
N_CLASSES, N_OTHERS, N_CONCEPTS = 160, 64, 32
"""Texts of a step, besides all states of one object."""


class NounBlock:
    """What the classifier says of a vector x, in RANK dimensions: texts @ (matrix @ x + offset) are nearly its logits.

    The principal components of the logits, each coordinate's variance shared out equally between image and text.

    Attributes:
        matrix, offset: (RANK + 1, 1280) and (RANK + 1,): of the image projection; the last row is 0.
        texts: (1000, RANK), the class names, the longest of length 1.
    """

    def __init__(self, weights: Tensor, bias: Tensor, vectors: Tensor) -> None:
        weights, bias = weights - weights.mean(0), bias - bias.mean()  # what all classes share decides nothing
        logits = vectors @ weights.T + bias
        variances, components = torch.linalg.eigh(logits.T @ logits / len(logits))
        variances, components = variances.flip(0)[:RANK], components.flip(1)[:, :RANK]
        self.matrix = F.pad(variances[:, None] ** -0.25 * (components.T @ weights), (0, 0, 0, 1))
        self.offset = F.pad(variances**-0.25 * (components.T @ bias), (0, 1))
        texts = components * variances**0.25
        self.texts = texts / texts.norm(dim=1).max()

    def folded(self, scale: float, old: dict[str, Tensor], n_state: int, n_hidden: int) -> dict[str, Tensor]:
        """The weights of timm's Mlp with the old state block; a linear map passes through it as GELU(u) - GELU(-u)."""
        first, bias, second = (old[f"visual.head.mlp.{name}"] for name in ("fc1.weight", "fc1.bias", "fc2.weight"))
        linear = scale * torch.cat([torch.eye(RANK + 1), -torch.eye(RANK + 1)], 1)
        return {
            "fc1.weight": torch.cat([self.matrix, -self.matrix, first[-n_hidden:]]),
            "fc1.bias": torch.cat([self.offset, -self.offset, bias[-n_hidden:]]),
            "fc2.weight": torch.block_diag(linear, second[-n_state:, -n_hidden:]),
        }


def pushed(vectors: Tensor, weights: Tensor, n: int) -> Tensor:
    """Vectors (n, 1280) that lie between those of images and the classes."""
    base = vectors[torch.randint(len(vectors), (n,))]
    towards = F.normalize(weights, dim=1)[torch.randint(len(weights), (n,))] * base.norm(dim=1, keepdim=True)
    return F.relu(base + PUSH * torch.rand(n, 1) * towards)


def filled(nouns: Tensor) -> Tensor:
    """Nouns of length 1 at most (n, RANK), filled up to length 1 in one more dimension."""
    return torch.cat([nouns, (1 - nouns.square().sum(1, keepdim=True)).clamp(min=0).sqrt()], 1)


@torch.inference_mode()
def said(tower: TextTower, tokens: Tensor) -> Tensor:
    rows = torch.empty(len(tokens), tower.text_projection.shape[1])
    for part in (tokens != 0).sum(1).argsort().split(512):
        rows[part] = tower(tokens[part][:, : int((tokens[part] != 0).sum(1).max())])
    return rows


def targets(prompts: Prompts, block: NounBlock, old: Tensor, embeddings: Tensor, n_state: int) -> Tensor:
    """What every text should give (n, RANK + 1 + n_state): its noun, and the state that the old tower gives it.

    A class name's noun is the classifier's; that of other texts comes from MiniLM by a ridge regression on the class
    names. All states of an object have one noun, so that their difference is of state alone.
    """
    ones = torch.ones(len(embeddings), 1)
    known = torch.cat([embeddings, ones], 1)
    classes = prompts.classes.flatten()
    wanted = block.texts.repeat_interleave(prompts.classes.shape[1], 0)
    gram = known[classes].T @ known[classes] + RIDGE * torch.eye(known.shape[1])
    nouns = known @ torch.linalg.solve(gram, known[classes].T @ wanted)
    nouns = nouns / nouns.norm(dim=1, keepdim=True).clamp(min=1)
    for normal, anomalous, kinds in zip(prompts.normal, prompts.anomalous, prompts.kinds, strict=True):
        nouns[torch.cat([normal, anomalous, kinds.flatten()])] = nouns[normal[:12]].mean(0)
    nouns[classes] = wanted
    state = old[:, -n_state:].clone()
    state[classes] = state[classes].mean(0)  # so that a state prefers no class
    return torch.cat([filled(nouns) * (1 - state.square().sum(1, keepdim=True)).clamp(min=0).sqrt(), state], 1)


def learn(tower: TextTower, prompts: Prompts, tokens: Tensor, wanted: Tensor, concepts: Tensor, steps: int) -> None:
    """The whole tower, to give what is wanted: class names most exactly, and the directions between two states."""
    optimizer = torch.optim.AdamW(tower.parameters(), 6e-4, weight_decay=0.01, betas=(0.9, 0.98))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 6e-4, steps, pct_start=0.1)
    n_normal, n_states = prompts.normal.shape[1], prompts.normal.shape[1] + prompts.anomalous.shape[1]
    for _ in range(steps):
        which = int(torch.randint(len(prompts.names), (1,)))
        rows, columns = torch.randint(1000, (N_CLASSES,)), torch.randint(prompts.classes.shape[1], (N_CLASSES,))
        others = torch.randint(len(tokens), (N_OTHERS,))
        some = concepts[torch.randint(len(concepts), (N_CONCEPTS,))]
        named = prompts.classes[rows, columns]
        chosen = torch.cat([prompts.normal[which], prompts.anomalous[which], named, others, some])
        given, target = tower(tokens[chosen][:, : int((tokens[chosen] != 0).sum(1).max())]), wanted[chosen]
        of_classes = slice(n_states, n_states + N_CLASSES)
        length = target[of_classes, : RANK + 1].norm(dim=1, keepdim=True)
        apart = (given[of_classes, :RANK] - target[of_classes, :RANK]) / length
        between = [directions(each[n_normal:n_states]) - directions(each[:n_normal]) for each in (given, target)]
        loss = (1 - (given * target).sum(1)).mean() + 2 * apart.square().sum(1).mean()
        loss = loss + 0.5 * (1 - F.cosine_similarity(*between, dim=0))
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(tower.parameters(), 1.0)
        optimizer.step()
        schedule.step()


@torch.inference_mode()
def fitted_scale(tower: TextTower, prompts: Prompts, tokens: Tensor, seen: Tensor, known: Tensor) -> float:
    """What cosines are multiplied by so that their softmax over class names comes nearest the classifier's.

    Args:
        seen: (n, width) the images' directions, of unit length.
        known: (n, 1000) the classifier's logits.
    """
    cosines = seen @ said(tower.eval(), tokens[prompts.classes[:, 1]]).T
    wanted = F.log_softmax(known, 1)

    def distance(scale: float) -> float:
        return float(F.kl_div(F.log_softmax(scale * cosines, 1), wanted, reduction="batchmean", log_target=True))

    return min(range(5, 101), key=distance)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("--data", "--start", "--vectors", "--out"):
        parser.add_argument(name, type=Path, required=True)
    parser.add_argument("--concepts", type=Path, default=Path("assets/concepts.txt"))
    parser.add_argument("--state", type=int, default=192, help="dimensions of the state block")
    parser.add_argument("--hidden", type=int, default=384, help="hidden units of the state block")
    parser.add_argument("--scale", type=float, default=1.0, help="length of the noun block of images, as it was = 1")
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    torch.manual_seed(given.seed)
    start = {name: value.float() for name, value in load_file(given.start).items()}
    loaded = np.load(given.data / "classifier.npz")
    weights, bias = (torch.from_numpy(loaded[key]).float() for key in ("w", "b"))
    vectors = load_file(given.vectors)["vectors"]
    block = NounBlock(weights, bias, pushed(vectors, weights, 20_000))
    prompts = Prompts(given.data, "cpu")
    tokens = torch.from_numpy(np.load(given.data / "tokens.npz")["tokens"].astype(np.int64))
    text_tower.JOINT = start["text_projection"].shape[1]
    tower = TextTower()
    tower.load_state_dict({name: start[name] for name in tower.state_dict()})
    embeddings = embedded(given.data / "minilm", prompts.texts, "cpu")
    wanted = targets(prompts, block, said(tower, tokens), embeddings, given.state)
    tower.text_projection = nn.Parameter(torch.randn(text_tower.WIDTH, wanted.shape[1]) * text_tower.WIDTH**-0.5)
    listed = set(given.concepts.read_text().splitlines())
    concepts = torch.tensor([number for number, text in enumerate(prompts.texts) if text in listed])
    learn(tower.train(), prompts, tokens, wanted, concepts, given.steps)
    head = block.folded(
        given.scale * _length_as_before(block, start, vectors, given.state), start, given.state, given.hidden
    )
    hidden = F.gelu(vectors @ head["fc1.weight"].T + head["fc1.bias"])
    seen = F.normalize(hidden @ head["fc2.weight"].T, dim=1)
    scale_of_cosines = fitted_scale(tower, prompts, tokens, seen, vectors @ weights.T + bias)
    named = {f"visual.head.mlp.{name}": value for name, value in head.items()} | tower.state_dict()
    named["logit_scale"] = torch.tensor(scale_of_cosines).log()
    given.out.mkdir(parents=True, exist_ok=True)
    save_file(
        {name: value.detach().contiguous().half() for name, value in named.items()}, given.out / "nouns.safetensors"
    )


def _length_as_before(block: NounBlock, old: dict[str, Tensor], vectors: Tensor, n_state: int) -> float:
    """What the new noun block of images is multiplied by to be as long as the old one."""
    hidden = F.gelu(vectors @ old["visual.head.mlp.fc1.weight"].T + old["visual.head.mlp.fc1.bias"])
    before = (hidden @ old["visual.head.mlp.fc2.weight"].T)[:, :-n_state]
    now = vectors @ block.matrix.T + block.offset
    return float((before.square().sum(1).mean() / now.square().sum(1).mean()).sqrt())


if __name__ == "__main__":
    main()
