"""The phrases that the text tower learns: nouns, materials, states, kinds of defects, and strings that mean nothing."""

import json
import random
from pathlib import Path

import numpy as np
import open_clip
import timm
from open_clip.zero_shot_metadata import IMAGENET_CLASSNAMES

from lake_core.prompts import ANOMALOUS_STATES, NORMAL_STATES, TEMPLATES

N_TOKENS = 24
"""Places of a prompt that are kept for training; the phrases here are shorter."""

CLASS_TEMPLATES = (
    "{}",
    "a photo of a {}.",
    "a photo of the {}.",
    "a close-up photo of a {}.",
    "a cropped photo of the {}.",
    "a bright photo of the {}.",
    "a blurry photo of a {}.",
    "a picture of a {} on a table.",
)
KIND_TEMPLATES = ("{}", "a photo of a {}.", "a close-up photo of a {}.")

KINDS = {
    "scratch": ("scratched {}", "{} with a scratch", "{} with a deep scratch"),
    "crack": ("cracked {}", "{} with a crack", "{} with a hairline crack"),
    "hole": ("{} with a hole", "punctured {}", "{} with a pit"),
    "stain": ("stained {}", "{} with a stain", "discoloured {}"),
    "dent": ("dented {}", "{} with a dent", "{} with a bump"),
    "missing part": ("{} with a missing part", "incomplete {}", "chipped {}"),
    "contamination": ("contaminated {}", "{} with dirt on it", "{} with foreign particles"),
    "bent": ("bent {}", "deformed {}", "warped {}"),
    "misprint": ("{} with a misprint", "badly printed {}", "{} with a wrong colour"),
    "worn": ("worn {}", "{} with a rough spot", "faded {}"),
    "foreign texture": ("{} with a patch of something else", "{} with a foreign body", "corroded {}"),
    "misplaced part": ("{} with a misplaced part", "wrongly assembled {}", "{} with a part that does not belong there"),
}
"""How a defect of each kind of `defects.KINDS` is said of an object."""

MATERIALS = (
    "metal",
    "steel",
    "aluminium",
    "copper",
    "wood",
    "oak",
    "plywood",
    "leather",
    "fabric",
    "cotton",
    "wool",
    "denim",
    "carpet",
    "paper",
    "cardboard",
    "plastic",
    "rubber",
    "foam",
    "glass",
    "ceramic",
    "porcelain",
    "tile",
    "brick",
    "concrete",
    "stone",
    "marble",
    "granite",
    "sand",
    "asphalt",
    "plaster",
    "paint",
    "enamel",
    "bread",
    "cheese",
    "chocolate",
    "fruit",
    "skin",
    "fur",
)
THINGS = (
    "object",
    "surface",
    "part",
    "item",
    "product",
    "component",
    "material",
    "texture",
    "workpiece",
    "plate",
    "sheet",
    "board",
    "panel",
    "casting",
    "weld",
    "cable",
    "wire",
    "pipe",
    "bolt",
    "nut",
    "gear",
    "bearing",
    "spring",
    "circuit",
    "chip",
    "connector",
    "capsule",
    "tablet",
    "bottle",
    "can",
    "cap",
    "bag",
    "box",
    "label",
    "package",
    "zipper",
    "button",
    "brush",
    "pen",
    "candle",
    "coin",
    "key",
    "lens",
    "screen",
    "wheel",
    "floor",
    "wall",
    "road",
    "pavement",
    "roof",
    "tablecloth",
    "rug",
    "towel",
    "glove",
    "apple",
    "orange",
    "potato",
    "tomato",
    "egg",
    "pasta",
    "nut kernel",
    "leaf",
    "seed",
    "bean",
)
LOOKS = (
    "red",
    "green",
    "blue",
    "yellow",
    "white",
    "black",
    "grey",
    "brown",
    "striped",
    "dotted",
    "chequered",
    "smooth",
    "rough",
    "shiny",
    "matt",
    "transparent",
    "round",
    "square",
    "long",
    "flat",
    "curved",
    "woven",
    "knitted",
    "porous",
    "grainy",
)


def words_of(folder: Path) -> list[str]:
    """The words of the training images, as the index has them."""
    index = json.loads((folder / "index.json").read_text())
    return sorted({word.lower() for row in index if row["shard"].startswith("train") for word in row["words"]})


def nouns() -> list[str]:
    """The first name of each of ImageNet-21k's synsets, which timm comes with."""
    lines = (Path(timm.__file__).parent / "data/_info/imagenet_synset_to_lemma.txt").read_text().splitlines()
    return sorted({line.split("\t")[1].split(",")[0].strip() for line in lines if "\t" in line})


def nonsense(rng: random.Random, n: int) -> list[str]:
    return ["".join(rng.choice("abcdefghijklmnopqrstuvwxyz") for _ in range(rng.randint(3, 14))) for _ in range(n)]


def prompts(states: tuple[str, ...], templates: tuple[str, ...], name: str) -> list[str]:
    return [template.replace("{}", state.replace("{}", name)) for state in states for template in templates]


def corpus(folder: Path, concepts: Path) -> dict[str, object]:
    """All phrases, and where those of each group are.

    Returns:
        `texts`; `classes`, a row of numbers of texts for each ImageNet class; `objects` with, for each, its `normal`,
        `anomalous` and `kinds` texts; `words`, the texts of each word of the training images.
    """
    rng = random.Random(0)
    texts: list[str] = []
    numbers: dict[str, int] = {}

    def number(text: str) -> int:
        if text not in numbers:
            numbers[text] = len(texts)
            texts.append(text)
        return numbers[text]

    classes = [[number(text.replace("{}", name)) for text in CLASS_TEMPLATES] for name in IMAGENET_CLASSNAMES]
    words = {word: [number(text.replace("{}", word)) for text in CLASS_TEMPLATES] for word in words_of(folder)}
    named = [f"{look} {thing}" for look in rng.sample(LOOKS, 15) for thing in rng.sample((*MATERIALS, *THINGS), 4)]
    material_things = [f"{material} {rng.choice(THINGS)}" for material in MATERIALS]
    names = [*THINGS, *MATERIALS, *material_things, *named, *words, *rng.sample(list(IMAGENET_CLASSNAMES), 100)]
    objects = {
        name: {
            "normal": [number(text) for text in prompts(NORMAL_STATES, TEMPLATES, name)],
            "anomalous": [number(text) for text in prompts(ANOMALOUS_STATES, TEMPLATES, name)],
            "kinds": [[number(text) for text in prompts(KINDS[kind], KIND_TEMPLATES, name)] for kind in KINDS],
        }
        for name in dict.fromkeys(names)
    }
    for text in [*nouns(), *LOOKS, *concepts.read_text().splitlines(), *nonsense(rng, 3000)]:
        if text and not text.startswith("#"):
            number(text)
            number(rng.choice(TEMPLATES).replace("{}", text))
    return {"texts": texts, "classes": classes, "objects": objects, "words": words}


def main(folder: Path, concepts: Path) -> None:
    made = corpus(folder, concepts)
    tokens = open_clip.tokenize(made["texts"])[:, :N_TOKENS].numpy().astype(np.uint16)
    (folder / "text").mkdir(exist_ok=True)
    (folder / "text" / "phrases.json").write_text(json.dumps(made))
    np.savez_compressed(folder / "text" / "tokens.npz", tokens=tokens)
    print(len(made["texts"]), "phrases")


if __name__ == "__main__":
    main(Path(".train"), Path("assets/concepts.txt"))
