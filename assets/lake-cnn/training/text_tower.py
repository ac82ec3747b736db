"""The text tower under open_clip's names, the prompts it learns, and the directions it learns to give."""

import json
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AutoModel, AutoTokenizer

WIDTH, DEPTH, HEADS, JOINT = 192, 4, 4, 384


class Block(nn.Module):
    """open_clip's residual attention block, under its names."""

    def __init__(self) -> None:
        super().__init__()
        self.ln_1, self.ln_2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.attn = nn.MultiheadAttention(WIDTH, HEADS, batch_first=True)
        self.mlp = nn.Sequential()
        self.mlp.add_module("c_fc", nn.Linear(WIDTH, 4 * WIDTH))
        self.mlp.add_module("gelu", nn.GELU())
        self.mlp.add_module("c_proj", nn.Linear(4 * WIDTH, WIDTH))

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        normed = self.ln_1(x)
        x = x + self.attn(normed, normed, normed, attn_mask=mask, need_weights=False)[0]
        return x + self.mlp(self.ln_2(x))


class TextTower(nn.Module):
    """CLIP's text tower under open_clip's names; the direction is read at the last token."""

    def __init__(self) -> None:
        super().__init__()
        self.token_embedding = nn.Embedding(49408, WIDTH)
        self.positional_embedding = nn.Parameter(torch.randn(77, WIDTH) * 0.01)
        self.transformer = nn.Module()
        self.transformer.resblocks = nn.ModuleList(Block() for _ in range(DEPTH))
        self.ln_final = nn.LayerNorm(WIDTH)
        self.text_projection = nn.Parameter(torch.randn(WIDTH, JOINT) * WIDTH**-0.5)
        nn.init.normal_(self.token_embedding.weight, std=0.02)

    def forward(self, tokens: Tensor) -> Tensor:
        n = tokens.shape[1]
        mask = torch.full((n, n), float("-inf"), device=tokens.device).triu(1)
        x = self.token_embedding(tokens) + self.positional_embedding[:n]
        for block in self.transformer.resblocks:
            x = block(x, mask)
        last = self.ln_final(x)[torch.arange(len(x)), tokens.argmax(1)]
        return F.normalize(last @ self.text_projection, dim=-1)


def embedded(folder: Path, texts: list[str], device: str) -> Tensor:
    """MiniLM's embeddings (n, 384) of unit length: the mean over a text's tokens."""
    tokenizer, model = (
        AutoTokenizer.from_pretrained(folder),
        AutoModel.from_pretrained(folder).float().to(device).eval(),
    )
    rows = torch.empty(len(texts), 384, device=device)
    order = sorted(range(len(texts)), key=lambda number: len(texts[number]))
    with torch.inference_mode():
        for start in range(0, len(order), 2048):
            chosen = order[start : start + 2048]
            batch = tokenizer(
                [texts[number] for number in chosen], padding=True, truncation=True, max_length=48, return_tensors="pt"
            ).to(device)
            hidden, weights = model(**batch).last_hidden_state, batch["attention_mask"][..., None]
            rows[chosen] = F.normalize((hidden * weights).sum(1) / weights.sum(1), dim=-1)
    return rows.clone()


class Prompts:
    """Numbers of the phrases' texts, as tensors."""

    def __init__(self, folder: Path, device: str) -> None:
        made = json.loads((folder / "phrases.json").read_text())
        self.texts: list[str] = made["texts"]
        self.classes = torch.tensor(made["classes"], device=device)
        self.names = list(made["objects"])
        self.normal, self.anomalous, self.kinds = (
            torch.tensor([one[key] for one in made["objects"].values()], device=device)
            for key in ("normal", "anomalous", "kinds")
        )
        self.words = list(made["words"])
        self.word_texts = torch.tensor(list(made["words"].values()), device=device)


def directions(rows: Tensor) -> Tensor:
    return F.normalize(rows.mean(-2), dim=-1)


def train_tower(prompts: Prompts, tokens: Tensor, targets: Tensor, steps: int, seed: int) -> TextTower:
    """The text tower, to give what the teacher gives, and the same difference between an object's two states."""
    torch.manual_seed(seed)
    tower = TextTower().to(targets.device)
    optimizer = torch.optim.AdamW(tower.parameters(), 1e-3, weight_decay=0.02, betas=(0.9, 0.98))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1.5e-3, steps, pct_start=0.1)
    device = targets.device
    for _ in range(steps):
        names = torch.randint(len(prompts.names), (6,), device=device)
        states = torch.cat([prompts.normal[names], prompts.anomalous[names]], 1)
        chosen = torch.cat([states.flatten(), torch.randint(len(tokens), (768,), device=device)])
        with torch.autocast(device_type=device.type, dtype=torch.bfloat16):
            given = tower(tokens[chosen])
        given, wanted = given.float(), targets[chosen]
        loss = (1 - (given * wanted).sum(1)).mean()
        n_normal = prompts.normal.shape[1]
        of_state = [rows[: states.numel()].view(*states.shape, -1) for rows in (given, wanted)]
        steps_between = [directions(rows[:, n_normal:]) - directions(rows[:, :n_normal]) for rows in of_state]
        loss = loss + (1 - F.cosine_similarity(*steps_between, dim=1)).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return tower.eval()
