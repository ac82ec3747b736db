"""Scores of a few sample images, kept beside the version of the method that gave them.

Run `python -m tests.core.reference_scores` after METHOD_VERSION was raised, or when a case was added: it writes
reference_scores.json anew, and refuses to where known scores differ and the version does not.
"""

import json
import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lake_core.backbones.opening import open_backbone
from lake_core.config import LakeConfig
from lake_core.data.samples import load_sample, sample_names
from lake_core.detector.lake import Lake
from lake_core.version import METHOD_VERSION

PATH = Path(__file__).with_suffix(".json")
TOLERANCE = 1e-4
"""Relative; processors and versions of PyTorch differ by 1e-5 at most."""
_SMALLEST = 1e-3
"""Scores are of the order of 1: below this a text part is compared as if it were this large."""

Scores = Mapping[str, Mapping[str, list[float]]]
"""Case -> sample and name of the image -> score, visual part, text part."""


@dataclass(frozen=True)
class Case:
    """A backbone with a configuration, and the samples whose images it scores."""

    spec: str
    samples: tuple[str, ...]
    image_size: int | None = None
    options: dict[str, Any] = field(default_factory=dict)


CASES = {
    "lake-cnn": Case("lake-cnn", sample_names()),
    "lake-cnn, all channels": Case(
        "lake-cnn", ("metal", "hazelnut"), 256, {"site": "residual_channel", "criterion": "all"}
    ),
    "lake-vit": Case("lake-vit", ("metal",)),
    "lake-vit, residual channels": Case(
        "lake-vit", ("metal",), None, {"site": "residual_channel", "top_q": 3, "smooth": 1}
    ),
}


def computed() -> dict[str, dict[str, list[float]]]:
    """The scores as they are now, each from three normal images; the first and the last test image of a sample."""
    found: dict[str, dict[str, list[float]]] = {}
    for title, case in CASES.items():
        backbone = open_backbone(case.spec, image_size=case.image_size)
        rows = found[title] = {}
        for sample in case.samples:
            data = load_sample(sample)
            lake = Lake(backbone, LakeConfig(object_name=sample, **case.options))
            lake.fit([example.image for example in data.normals[:3]])
            for example in (data.tests[0], data.tests[-1]):
                result = lake.explain(example.image)
                rows[f"{sample}/{example.image.name}"] = [result.score, result.visual, result.text]
    return found


def differing(before: Scores, now: Scores) -> list[str]:
    """One sentence for each number that both know and that differs by more than the tolerance."""
    return [
        f"{case}, {name}: {what} was {old:.6g}, is {new:.6g}"
        for case in before.keys() & now.keys()
        for name in before[case].keys() & now[case].keys()
        for what, old, new in zip(("score", "visual", "text"), before[case][name], now[case][name], strict=True)
        if not math.isclose(old, new, rel_tol=TOLERANCE, abs_tol=TOLERANCE * _SMALLEST)
    ]


def main() -> None:
    """Writes the file anew."""
    now = computed()
    if PATH.exists():
        kept = json.loads(PATH.read_text(encoding="utf-8"))
        if kept["method_version"] == METHOD_VERSION and (changed := differing(kept["scores"], now)):
            sys.exit("Raise METHOD_VERSION in lake_core/version.py first:\n" + "\n".join(changed))
    document = {"method_version": METHOD_VERSION, "scores": now}
    PATH.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
