"""How the defaults of the offline backbones were chosen: a sweep, one factor at a time, printed as Markdown tables.

    python tests/benchmarks/choose_defaults.py DATA [--model lake-cnn] [--sets a,b] [--procs 2] [--out tables.md]

DATA holds data sets in MVTec's layout. Protocol: 4 normal images from train/good (the first of a seeded permutation,
seeds 0, 1, 2), all test images, image AUROC averaged over seeds and then over sets. The network runs once per
image and input size; everything else is read from a feature store. Beside each setting stand the two controls: K
random neurons (mean of 2 draws a seed) and all neurons. Layers below 8 of lake-cnn are not tried: their grid of 48 x 48
makes nearest neighbours sixteen times as dear.
"""

import argparse
import json
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F

import lake_core as lk
from lake_core.backbones.backbone import Backbone
from lake_core.backbones.budget import MemoryBudget
from lake_core.backbones.patch_grid import PatchGrid, Resize, coarse_of_fine
from lake_core.data.datasets import Dataset
from lake_core.data.folders import categories
from lake_core.detector.text import margins
from lake_core.metrics.decision import is_anomalous
from lake_core.metrics.image_metrics import auroc
from lake_core.metrics.pixel_metrics import pixel_metrics
from lake_core.visualization.interpolation import map_to_image

SHOTS, SEEDS, RANDOM_DRAWS = 4, (0, 1, 2), 2
FRESH_SEEDS = tuple(range(3, 13))
OTHER_SHOTS = (2, 8, 16)
WEIGHTS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.7, 1.0)
THRESHOLDS = (0.5, 0.75, 0.9, 0.95, 1.0)
DEFAULT: dict[str, dict[str, Any]] = {
    "lake-cnn": {"layers": (15,), "site": "mlp_hidden", "normalise": "unit", "smooth": 3, "top_k": 100},
    "lake-vit": {"layers": (8,), "site": "residual_channel", "normalise": "none", "smooth": 1, "top_k": 100},
}
SIZES: dict[str, tuple[tuple[int, Resize], ...]] = {
    "lake-cnn": ((288, "squash"), (448, "squash"), (288, "letterbox"), (384, "letterbox")),
    "lake-vit": ((128, "letterbox"),),
}
SIZE = {"lake-cnn": 384, "lake-vit": 128}
FIRST_LAYER = {"lake-cnn": 8, "lake-vit": 1}
LAYER_SETS = {
    "lake-cnn": ((12, 15), (12, 13, 14, 15), (9, 15), (15, 17), (15, 18), (15, 20), (12, 15, 18), (9, 12, 15, 18)),
    "lake-vit": ((4, 8), (6, 8), (6, 7, 8), (8, 10)),
}
TOP_KS = (10, 25, 50, 75, 100, 150, 200, 300)


class Maps(NamedTuple):
    """One layer's calibrated maps: of the normal images left out in turn (n, p), of the test images (t, p)."""

    own: np.ndarray
    tests: np.ndarray
    grid: PatchGrid

    def on(self, grid: PatchGrid) -> "Maps":
        index = coarse_of_fine(grid, self.grid)
        return Maps(self.own[:, index], self.tests[:, index], grid)


class Bench:
    """One data set with the features of one backbone."""

    def __init__(
        self,
        data: Dataset,
        backbone: Backbone,
        hook_points: Iterable[Any],
        shots: int = SHOTS,
        seeds: Sequence[int] = SEEDS,
        store: lk.FeatureStore | None = None,
    ) -> None:
        self.data, self.backbone, self.shots, self.seeds = data, backbone, shots, seeds
        self.store = store or lk.FeatureStore(backbone, MemoryBudget(12 * 1024**3))
        self.name = data.name.replace("_", " ")
        self.tests = [example.image for example in data.tests]
        self.labels = np.array([example.label == "defective" for example in data.tests])
        self.normals = {seed: self._normals(seed) for seed in seeds}
        self.store.ensure([*self.tests, *(p for chosen in self.normals.values() for p in chosen)], hook_points)
        self.visual = cache(self._visual)

    def _normals(self, seed: int) -> list[Any]:
        order = np.random.default_rng(seed).permutation(len(self.data.normals))[: self.shots]
        return [self.data.normals[i].image for i in order]

    def lake(self, run: int, **changes: Any) -> lk.Lake:
        config = lk.LakeConfig(object_name=self.name, **changes)
        return lk.Lake(self.backbone, config, self.store).fit(self.normals[run])

    def _visual(self, run: int, settings: tuple[tuple[str, Any], ...]) -> Maps:
        """V of a single layer."""
        lake = self.lake(run, **dict(settings))
        layer = lake.memory_bank_.layers[0]
        tests = np.stack([lake.compute_maps(image).visual for image in self.tests])
        return Maps(layer.own_distance.numpy() / layer.tau, tests, layer.grid)

    def layers(self, run: int, layers: Sequence[int], **settings: Any) -> Maps:
        """V of several layers: the mean of theirs on the finest grid."""
        each = [self.visual(run, tuple(sorted({**settings, "layers": (layer,)}.items()))) for layer in layers]
        grid = max((maps.grid for maps in each), key=lambda g: g.n_patches)
        fine = [maps.on(grid) for maps in each]
        return Maps(np.mean([m.own for m in fine], 0), np.mean([m.tests for m in fine], 0), grid)

    @cache  # noqa: B019 - lives as long as the process
    def text_part(self, seed: int, smooth: int = 1) -> Maps:
        """C, optionally with the margins averaged over a square of patches before they are calibrated."""
        lake = self.lake(seed, layers=(len(self.backbone.layers),), site="residual_channel", smooth=1)
        text, hook_point = lake.memory_bank_.text, self.backbone.joint_hook_point
        assert text is not None
        assert hook_point is not None

        def maps(images: Sequence[Any]) -> np.ndarray:
            margin = margins(self.store.stack(images, hook_point), text.directions)
            if smooth > 1:
                square = margin.unflatten(1, (text.grid.rows, text.grid.cols))[:, None]
                square = F.avg_pool2d(square, smooth, stride=1, padding=smooth // 2, count_include_pad=False)
                margin = square[:, 0].flatten(1)
            return margin.numpy()

        own, tests = maps(self.normals[seed]), maps(self.tests)
        m50, m99 = np.quantile(own, [0.5, 0.99])
        return Maps(
            np.clip((own - m50) / (m99 - m50), 0, None), np.clip((tests - m50) / (m99 - m50), 0, None), text.grid
        )

    def scores(self, visual: Maps, text_part: Maps, weight: float) -> tuple[np.ndarray, np.ndarray]:
        """Image scores of the normal images left out in turn, and of the test images."""
        fine = text_part.on(visual.grid)
        own, tests = ((1 - weight) * v + weight * c for v, c in zip(visual[:2], fine[:2], strict=True))
        return own.max(1), tests.max(1)

    def auroc(self, maps: Maps, seed: int, weight: float, smooth_text: int = 1) -> float:
        return auroc(self.labels, self.scores(maps, self.text_part(seed, smooth_text), weight)[1]) or 0.0

    def pixel(self, maps: Maps, seed: int, weight: float) -> tuple[float, float]:
        fine = self.text_part(seed).on(maps.grid)
        fused = (1 - weight) * maps.tests + weight * fine.tests
        spread, masks = [], []
        for values, example in zip(fused, self.data.tests, strict=True):
            image = example.image
            mask = np.zeros((image.height, image.width), bool) if example.mask is None else example.mask
            masks.append(mask[::2, ::2])
            size = (masks[-1].shape[1], masks[-1].shape[0])
            spread.append(map_to_image(values, maps.grid, self.backbone.placement(image), size, smooth=True))
        found = pixel_metrics(spread, masks)
        return found.auroc or 0.0, found.aupro or 0.0


def settings_of(method: str, draw: int, settings: dict[str, Any]) -> dict[str, Any]:
    if method == "random":
        return {**settings, "criterion": "random", "seed": draw}
    return {**settings, "criterion": "all"} if method == "all" else settings


def study(bench: Bench, settings: dict[str, Any], controls: bool = True, pixel: bool = False) -> dict[str, Any]:
    """Image AUROC over seeds of the selection and of its controls, with text at 0.3 and without."""
    layers = settings["layers"]
    rest = {key: value for key, value in settings.items() if key != "layers"}
    row: dict[str, Any] = {}
    for method in ("lake", "random", "all") if controls else ("lake",):
        fused, seen = [], []
        for seed in bench.seeds:
            for draw in range(RANDOM_DRAWS if method == "random" else 1):
                maps = bench.layers(seed, layers, **settings_of(method, 10 * seed + draw, rest))
                fused.append(bench.auroc(maps, seed, 0.3))
                seen.append(bench.auroc(maps, seed, 0.0))
        row[method] = float(np.mean(fused))
        row[f"{method}, w = 0"] = float(np.mean(seen))
    if pixel:
        found = [bench.pixel(bench.layers(seed, layers, **rest), seed, 0.3) for seed in bench.seeds]
        row["pixel AUROC"], row["AUPRO"] = (float(value) for value in np.mean(found, axis=0))
    return row


def thresholds(bench: Bench, settings: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """What the decision threshold does at several quantiles of the normal images' leave-one-out scores."""
    rows = {}
    for quantile in THRESHOLDS:
        balanced, false, missed = [], [], []
        for seed in bench.seeds:
            own, tests = bench.scores(bench.layers(seed, **settings), bench.text_part(seed), 0.3)
            flagged = is_anomalous(tests, float(np.quantile(own, quantile)))
            false.append(flagged[~bench.labels].mean())
            missed.append((~flagged)[bench.labels].mean())
            balanced.append(1 - (false[-1] + missed[-1]) / 2)
        rows[f"{quantile}"] = {
            "balanced accuracy": float(np.mean(balanced)),
            "good ones flagged": float(np.mean(false)),
            "defective ones missed": float(np.mean(missed)),
        }
    return rows


def checks(path: Path, model: str) -> dict[str, dict[str, dict[str, Any]]]:
    """What the sweep did not look at: other normal images, other numbers of them; settings as chosen."""
    torch.set_num_threads(1)
    data, default = lk.read_folder(path), DEFAULT[model]
    backbone = opened(model, SIZE[model], "squash")
    hook_points = {backbone.hook_point(n, default["site"]) for n in default["layers"]} | backbone.text_hook_points
    fresh = Bench(data, backbone, hook_points, seeds=FRESH_SEEDS)
    name = f"{SHOTS} other normal images, seeds {FRESH_SEEDS[0]} to {FRESH_SEEDS[-1]}"
    tables = {name: {f"K = {k}": study(fresh, {**default, "top_k": k}) for k in (50, 100)}}
    for shots in OTHER_SHOTS:
        bench = Bench(data, backbone, hook_points, shots, store=fresh.store)
        tables[f"Threshold quantile, {shots} normal images"] = thresholds(bench, default)
    print(f"{path.name}: checks done", flush=True)
    return tables


def opened(model: str, size: int, resize: Resize) -> Backbone:
    """The backbone, with texts encoded once."""
    backbone = lk.open_backbone(model, image_size=size, resize=resize)
    encode = cache(lambda texts: Backbone.encode_text(backbone, texts))
    backbone.encode_text = lambda texts: encode(tuple(texts))  # type: ignore[method-assign]
    return backbone


def sweep(path: Path, model: str) -> dict[str, dict[str, dict[str, Any]]]:
    """All tables of one data set: table -> row label -> column -> value."""
    torch.set_num_threads(1)
    started = time.perf_counter()
    data = lk.read_folder(path)
    default = DEFAULT[model]
    tables: dict[str, dict[str, dict[str, Any]]] = {}

    backbone = opened(model, SIZE[model], "squash")
    tried = range(FIRST_LAYER[model], len(backbone.layers) + 1)
    hook_points = {
        backbone.hook_point(n, site) for n in tried for site in backbone.layer(n).n_neurons
    } | backbone.text_hook_points
    bench = Bench(data, backbone, hook_points)

    def say(text: str) -> None:
        print(f"{path.name}: {text} ({time.perf_counter() - started:.0f} s)", flush=True)

    say("features")
    for site in ("mlp_hidden", "residual_channel"):
        rows = tables[f"Single layers, {site} neurons"] = {}
        for number in tried:
            n_neurons = backbone.layer(number).n_neurons.get(site)
            if n_neurons is None:
                continue
            top_k = default["top_k"] if site == "mlp_hidden" else max(10, n_neurons // 4)
            rows[f"{number} (K = {top_k} of {n_neurons})"] = study(
                bench, {**default, "layers": (number,), "site": site, "top_k": top_k}
            )
        say(f"layers {site}")
    rows = tables[f"Several layers, {default['site']} neurons"] = {}
    for layers in LAYER_SETS[model]:
        rows[" + ".join(map(str, layers))] = study(bench, {**default, "layers": layers})
    rows = tables["K"] = {}
    n_default = backbone.layer(default["layers"][0]).n_neurons[default["site"]]
    for top_k in (k for k in TOP_KS if k < n_default):
        rows[f"{top_k} of {n_default}"] = study(bench, {**default, "top_k": top_k}, pixel=top_k in (50, 100))
    say("K")
    tables["Criterion"] = {
        criterion: study(bench, {**default, "criterion": criterion}, controls=False)
        for criterion in ("variance", "robust", "range")
    }
    rows = tables["Distance"] = {}
    for normalise in ("unit", "none"):
        for smooth in (1, 3, 5):
            rows[f"{normalise}, smooth {smooth}"] = study(
                bench, {**default, "normalise": normalise, "smooth": smooth}, pixel=normalise == "unit"
            )
    say("distance")
    text_rows = {}
    for weight in WEIGHTS:
        row = {}
        for smooth in (1, 3):
            found = [bench.auroc(bench.layers(seed, **default), seed, weight, smooth) for seed in SEEDS]
            row["as is" if smooth == 1 else "margins smoothed 3 x 3"] = float(np.mean(found))
        text_rows[f"w = {weight}"] = row
    tables["Fusion weight"] = text_rows
    tables[f"Threshold quantile, {SHOTS} normal images"] = thresholds(bench, default)
    rows = tables["Input"] = {f"{SIZE[model]} squash": study(bench, default, pixel=True)}
    del bench
    for size, resize in SIZES[model]:
        other = opened(model, size, resize)
        used = {other.hook_point(n, default["site"]) for n in default["layers"]} | other.text_hook_points
        rows[f"{size} {resize}"] = study(Bench(data, other, used), default, pixel=True)
    say("done")
    return tables


def markdown(per_set: dict[str, dict[str, dict[str, dict[str, Any]]]]) -> str:
    """Tables of means over sets; where there are several sets, the selection's value on each beside."""
    parts = []
    names = list(per_set)
    for table in per_set[names[0]]:
        rows = per_set[names[0]][table]
        columns = list(dict.fromkeys(column for row in rows.values() for column in row))
        lines = [f"### {table}", "", "| | " + " | ".join([*columns, *names]) + " |"]
        lines.append("|" + "---|" * (1 + len(columns) + len(names)))
        for label in rows:
            cells = []
            for column in columns:
                values = [per_set[name][table][label].get(column) for name in names]
                known = [value for value in values if value is not None]
                cells.append(f"{np.mean(known):.3f}" if len(known) == len(names) else "")
            cells += [f"{per_set[name][table][label][columns[0]]:.3f}" for name in names]
            lines.append(f"| {label} | " + " | ".join(cells) + " |")
        parts.append("\n".join(lines))
    return "\n\n".join(parts) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("data", type=Path)
    parser.add_argument("--model", default="lake-cnn", choices=sorted(DEFAULT))
    parser.add_argument("--sets", default="", help="comma-separated folder names; all by default")
    parser.add_argument("--procs", type=int, default=1, help="data sets at a time, one thread each")
    parser.add_argument("--only", choices=("sweep", "checks"), help="both by default")
    parser.add_argument("--out", type=Path, help="write the tables here; the numbers as JSON beside")
    args = parser.parse_args()
    wanted = [name for name in args.sets.split(",") if name]
    folders = [folder for folder in categories(args.data) if not wanted or folder.name in wanted]
    with ProcessPoolExecutor(args.procs) as pool:
        models = [args.model] * len(folders)
        steps = [step for step in (sweep, checks) if args.only in (None, step.__name__)]
        found = [list(pool.map(step, folders, models)) for step in steps]
    per_set: dict[str, dict[str, dict[str, dict[str, Any]]]] = {folder.name: {} for folder in folders}
    for step_found in found:
        for folder, tables in zip(folders, step_found, strict=True):
            per_set[folder.name].update(tables)
    text = markdown(per_set)
    print(text)
    if args.out:
        args.out.write_text(text, encoding="utf-8")
        args.out.with_suffix(".json").write_text(json.dumps(per_set), encoding="utf-8")


if __name__ == "__main__":
    main()
