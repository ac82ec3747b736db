"""Trains a joint projection with nouns and state in blocks of their own, and the text tower to it; see README.md.

    python joint.py --data FOLDER --out FOLDER [--seed 0]

FOLDER holds the images with `index.json`, what `phrases.py` wrote, `trunk.safetensors` (the image tower),
`classifier.npz` (its ImageNet classifier) and `minilm/` (all-MiniLM-L6-v2). One GPU, about four minutes a seed.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from features import Tower, Triples, triples
from safetensors.torch import save_file
from text_tower import Prompts, directions, embedded, train_tower
from torch import Tensor, nn

NOUNS, STATE, HIDDEN = 256, 128, 384
"""Dimensions of the joint space for each block, and hidden units of each block."""
DAMAGED_FROM = 0.12
"""Share of a location from which on it counts as damaged; between 0 and this it is not used."""
MARGIN_SCALE = 6.0
"""Difference of cosines x this = the probes' logit in standard deviations."""


class Probe(nn.Module):
    """Damage of a location from its vector (..., 1280), as a logit."""

    def __init__(self, mean: Tensor, std: Tensor) -> None:
        super().__init__()
        self.register_buffer("mean", mean)
        self.register_buffer("std", std)
        self.net = nn.Sequential(nn.Linear(1280, 512), nn.GELU(), nn.Dropout(0.3), nn.Linear(512, 1))

    def forward(self, vectors: Tensor) -> Tensor:
        return self.net((vectors - self.mean) / self.std)[..., 0]


class Joint(nn.Module):
    """timm's Mlp as open_clip puts it on a tower with `timm_proj` "mlp", as two blocks that share nothing."""

    def __init__(self, mean: Tensor, std: Tensor) -> None:
        super().__init__()
        self.register_buffer("mean", mean)
        self.register_buffer("std", std)
        self.first = nn.ModuleList(nn.Linear(1280, HIDDEN) for _ in range(2))
        self.second = nn.ModuleList(nn.Linear(HIDDEN, size, bias=False) for size in (NOUNS, STATE))

    def forward(self, vectors: Tensor) -> tuple[Tensor, Tensor]:
        vectors = (vectors - self.mean) / self.std
        nouns, state = (b(F.gelu(a(vectors))) for a, b in zip(self.first, self.second, strict=True))
        return nouns, state

    def folded(self) -> dict[str, Tensor]:
        """The weights of timm's Mlp, which knows neither blocks nor standardised inputs."""
        rows = torch.cat([layer.weight for layer in self.first]) / self.std
        bias = torch.cat([layer.bias for layer in self.first]) - rows @ self.mean
        return {"fc1.weight": rows, "fc1.bias": bias, "fc2.weight": torch.block_diag(*(b.weight for b in self.second))}


class Teacher(nn.Module):
    """MiniLM's embeddings (..., 384) to both blocks; only for training."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Linear(384, hidden), nn.GELU(), nn.Dropout(0.1), nn.Linear(hidden, size))
            for hidden, size in ((768, NOUNS), (256, STATE))
        )

    def forward(self, embeddings: Tensor) -> tuple[Tensor, Tensor]:
        nouns, state = (block(embeddings) for block in self.blocks)
        return nouns, state


def joined(nouns: Tensor, state: Tensor) -> Tensor:
    return F.normalize(torch.cat([nouns, state], -1), dim=-1)


def places_of(maps: Tensor) -> Tensor:
    """Final maps (n, 3, 1280, 12, 12) as vectors (n, 3, 144, 1280)."""
    return maps.float().flatten(3).transpose(2, 3)


def train_probe(data: Triples, train: Tensor, mean: Tensor, std: Tensor, steps: int, seed: int) -> Probe:
    """Mostly ranking: a damaged crop above its clean twins, at each location and at the greatest."""
    torch.manual_seed(seed)
    device = mean.device
    probe = Probe(mean, std).to(device)
    optimizer = torch.optim.AdamW(probe.parameters(), 1e-3, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1.5e-3, steps)
    heavier = torch.tensor(4.0, device=device)
    for _ in range(steps):
        chosen = train[torch.randint(len(train), (40,), device=device)]
        with torch.autocast(device.type, dtype=torch.bfloat16):
            logits = probe(places_of(data.final[chosen]))
        logits, share = logits.float(), data.damage[chosen].flatten(1)
        positive, certain = (share > DAMAGED_FROM).float(), ((share <= 0) | (share > DAMAGED_FROM)).float()
        is_made = (~data.real[chosen]).float()[:, None]
        target = torch.stack([torch.zeros_like(positive), positive, torch.zeros_like(positive)], 1)
        weight = torch.stack([is_made.expand_as(share), certain, is_made.expand_as(share)], 1)
        each = F.binary_cross_entropy_with_logits(logits, target, weight, reduction="sum", pos_weight=heavier)
        pairs = F.softplus(1 - (logits[:, 1] - logits[:, 0])) * positive * is_made
        top, made = torch.logsumexp(4 * logits, 2) / 4, is_made[:, 0]
        ranked = sum(F.softplus(1 - (top[:, 1] - top[:, other])) * made for other in (0, 2))
        ranked = ranked + 0.5 * F.softplus(1 - (top[:, 1] - top[:, 2].roll(1))) * made * made.roll(1)
        loss = 0.2 * each / weight.sum() + pairs.sum() / (positive * is_made).sum().clamp(min=1) + ranked.mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return probe.eval()


class Lessons:
    """The losses of the joint space; each block learns from its own and sees the other as fixed."""

    def __init__(
        self, data: Triples, rows: list[dict], prompts: Prompts, texts: Tensor, classifier: tuple[Tensor, Tensor]
    ) -> None:
        self.data, self.prompts, self.texts = data, prompts, texts
        self.matrix, self.bias = classifier
        word_of = [prompts.words.index(row["words"][0].lower()) for row in rows]
        self.word_of = torch.tensor(word_of, device=texts.device)

    def nouns(self, head: Joint, teacher: Teacher, scale: Tensor, vectors: Tensor) -> Tensor:
        """What the network's own classifier says of vectors (n, 1280), from the class names."""
        device = vectors.device
        template = torch.randint(8, (1000,), device=device)
        words, state = teacher(self.texts[self.prompts.classes[torch.arange(1000, device=device), template]])
        seen, looks = head(vectors)
        said = F.log_softmax(scale.exp() * joined(seen, looks.detach()) @ joined(words, state.detach()).T, 1)
        known = F.log_softmax(vectors @ self.matrix.T + self.bias, 1)
        return F.kl_div(said, known, reduction="batchmean", log_target=True)

    def words(self, head: Joint, teacher: Teacher, scale: Tensor, places: Tensor, chosen: Tensor) -> Tensor:
        """The words of the images, among those of all."""
        words, state = teacher(self.texts[self.prompts.word_texts[:, int(torch.randint(8, (1,)))]])
        seen, looks = head(places[:, 0].mean(1))
        cosines = joined(seen, looks.detach()) @ joined(words, state.detach()).T
        return F.cross_entropy(scale.exp() * cosines, self.word_of[self.data.row[chosen]])

    def state(self, head: Joint, teacher: Teacher, offset: Tensor, places: Tensor, logits: Tensor) -> Tensor:
        """The probes' logits, as the margin between an object's two states, whose noun is one and the same."""
        named = torch.randint(len(self.prompts.names), (6,), device=places.device)
        found, nouns_of = [], []
        for which in (self.prompts.normal, self.prompts.anomalous):
            nouns, state = teacher(self.texts[which[named]])
            found.append(directions(joined(nouns.detach(), state)))
            nouns_of.append(joined(nouns, state)[..., :NOUNS].mean(1))
        seen, looks = head(places)
        margin = torch.einsum("nlpd,kd->knlp", joined(seen.detach(), looks), found[1] - found[0])
        differs = (nouns_of[1] - nouns_of[0]).pow(2).sum(1).mean()
        return 10 * differs + 2 * (MARGIN_SCALE * margin + offset - logits).pow(2).mean()


def train_joint(
    lessons: Lessons,
    train: Tensor,
    logits_of: Callable[[Tensor], Tensor],
    scaling: tuple[Tensor, Tensor],
    steps: int,
    seed: int,
) -> tuple[Joint, Teacher, Tensor]:
    """The joint projection, the teacher of the text tower, and the logarithm of the scale of cosines."""
    torch.manual_seed(seed)
    device = lessons.texts.device
    head, teacher = Joint(*scaling).to(device), Teacher().to(device)
    scale, offset = nn.Parameter(torch.tensor(3.4, device=device)), nn.Parameter(torch.zeros(1, device=device))
    optimizer = torch.optim.AdamW([*head.parameters(), *teacher.parameters(), scale, offset], 1e-3, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1.5e-3, steps)
    pooled = lessons.data.final[train].float().mean((3, 4)).flatten(0, 1)
    rows = F.normalize(lessons.matrix, dim=1)
    for _ in range(steps):
        chosen = train[torch.randint(len(train), (16,), device=device)]
        places = places_of(lessons.data.final[chosen])
        some, pushed = (pooled[torch.randint(len(pooled), (512,), device=device)] for _ in range(2))
        towards = rows[torch.randint(1000, (512,), device=device)] * pushed.norm(dim=1, keepdim=True)
        pushed = F.relu(pushed + 1.2 * torch.rand(512, 1, device=device) * towards)
        single = places.reshape(-1, 1280)[torch.randint(places[..., 0].numel(), (512,), device=device)]
        with torch.no_grad():
            logits = logits_of(places)
        loss = lessons.nouns(head, teacher, scale, torch.cat([some, pushed, single]))
        loss = loss + 0.2 * lessons.words(head, teacher, scale, places, chosen)
        loss = loss + lessons.state(head, teacher, offset, places, logits)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return head.eval(), teacher.eval(), scale.detach()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    data, rows = triples(given.data, Tower(given.data / "trunk.safetensors", device), 4, 0)
    train = torch.where(data.row % 10 != 0)[0]
    some = data.final[train[:: max(1, len(train) // 400)]].float()
    scaling = some.mean((0, 1, 3, 4)), some.std((0, 1, 3, 4)) + 1e-2
    probes = [train_probe(data, train, *scaling, 4000, 10 * given.seed + number) for number in range(4)]
    with torch.inference_mode():
        drawn = torch.stack([probe(places_of(some)) for probe in probes]).mean(0)
    centre, spread = drawn.mean().item(), drawn.std().item()

    def logits_of(places: Tensor) -> Tensor:
        return ((torch.stack([probe(places) for probe in probes]).mean(0) - centre) / spread).clamp(-4, 4)

    prompts = Prompts(given.data, device)
    texts = embedded(given.data / "minilm", prompts.texts, device)
    loaded = np.load(given.data / "classifier.npz")
    weights, bias = (torch.from_numpy(loaded[key]).float().to(device) for key in ("w", "b"))
    lessons = Lessons(data, rows, prompts, texts, (weights, bias))
    head, teacher, scale = train_joint(lessons, train, logits_of, scaling, 3000, given.seed)
    with torch.no_grad():
        targets = torch.cat([joined(*teacher(part)) for part in texts.split(8192)])
    tokens = torch.from_numpy(np.load(given.data / "tokens.npz")["tokens"].astype(np.int64)).to(device)
    tower = train_tower(prompts, tokens, targets, 5000, given.seed)
    named = {f"visual.head.mlp.{key}": value for key, value in head.folded().items()} | tower.state_dict()
    given.out.mkdir(parents=True, exist_ok=True)
    tensors = {key: value.detach().contiguous().half() for key, value in (named | {"logit_scale": scale}).items()}
    save_file(tensors, given.out / f"seed{given.seed}.safetensors")


if __name__ == "__main__":
    main()
