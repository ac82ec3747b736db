"""Images per second of `evaluate` beside the bare open_clip forward on the same images, with random weights.

    python -m tests.benchmarks.gpu_throughput --model ViT-L-14-336 --device cuda --precision bf16 --n 4000 --batch 64

Nothing is downloaded: the weights are random, the images are made in a temporary folder. Two bare figures are
measured: on tensors that lie decoded and normalised on the device (`bare_images_per_s`, to which `share` refers), and
with files read, decoded and resized as `evaluate` does it (`bare_with_decoding_images_per_s`).
`evaluate_images_per_s` counts everything: reading, decoding, learning, the network, scoring and the metrics.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
from PIL import Image
from safetensors.torch import save_file

from lake_core.backbones.backbone import Backbone
from lake_core.backbones.opening import Opening
from lake_core.backbones.process import freeze_imports, limit_threads
from lake_core.data.folders import Entry, index_folder
from lake_core.evaluation.loading import load_ahead
from lake_core.evaluation.runner import evaluate

N_NORMAL = 4
OPENAI = {"mean": [0.48145466, 0.4578275, 0.40821073], "std": [0.26862954, 0.26130258, 0.27577711]}
OPEN_CLIP_PRECISION = {"fp32": "fp32", "bf16": "pure_bf16", "fp16": "pure_fp16"}


def write_model(name: str, folder: Path) -> str:
    """A local model of an open_clip architecture with random weights; its spec."""
    config = open_clip.get_model_config(name)
    if config is None:
        raise SystemExit(f"open_clip has no architecture {name!r}.")
    torch.manual_seed(0)
    model = open_clip.create_model(name, load_weights=False, weights_only=True)
    folder.mkdir(parents=True)
    save_file(
        {key: value.contiguous() for key, value in model.state_dict().items()}, folder / "open_clip_model.safetensors"
    )
    size = model.visual.image_size
    preprocess = OPENAI | {
        "interpolation": "bicubic",
        "resize_mode": "squash",
        "size": list(size) if isinstance(size, tuple) else size,
    }
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": config, "preprocess_cfg": preprocess}))
    return f"local-dir:{folder}"


def write_images(root: Path, n: int, side: int, suffix: str, with_masks: bool) -> Path:
    """A category in MVTec's layout: N_NORMAL normal images and n - N_NORMAL test ones, every other one defective."""
    rng = np.random.default_rng(0)
    grain = rng.normal(0, 20, (4 * side, 4 * side, 3)).astype(np.float32)
    corners = rng.integers(0, 3 * side, (n, 2))

    def write(i: int) -> None:
        top, left = corners[i]
        pixels = 128 + grain[top : top + side, left : left + side] + np.arange(3) * (i % 7)
        site = "train/good" if i < N_NORMAL else f"test/{('good', 'spot')[i % 2]}"
        if site == "test/spot":
            at = 10 + i % (side // 2)
            pixels[at : at + side // 6, at : at + side // 6] += 70
            if with_masks:
                mask = np.zeros((side, side), dtype=np.uint8)
                mask[at : at + side // 6, at : at + side // 6] = 255
                Image.fromarray(mask).save(root / "ground_truth/spot" / f"{i:06}_mask.png")
        Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(root / site / f"{i:06}{suffix}", quality=90)

    for site in ("train/good", "test/good", "test/spot", "ground_truth/spot"):
        (root / site).mkdir(parents=True)
    with ThreadPoolExecutor() as pool:
        list(pool.map(write, range(n)))
    return root


def seconds(work: Callable[[], object], device: torch.device) -> float:
    """How long it takes until the device has done it."""
    synchronise(device)
    started = time.perf_counter()
    work()
    synchronise(device)
    return time.perf_counter() - started


def synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


@torch.inference_mode()
def bare_forwards(visual: Any, batches: list[torch.Tensor]) -> None:
    for batch in batches:
        visual(batch)


@torch.inference_mode()
def bare_with_decoding(visual: Any, backbone: Backbone, entries: list[Entry], batch: int, dtype: torch.dtype) -> None:
    for loaded in load_ahead(entries, backbone, batch, with_masks=False):
        visual(backbone.pixels(loaded.canvases, loaded.placements).to(dtype))


def measure(spec: str, folder: Path, warm_up: Path, args: argparse.Namespace) -> dict[str, Any]:
    """All figures; `warm_up` is a small category on which everything runs once before."""
    backbone = Opening(spec, device=args.device, precision=args.precision).open()
    bare = open_clip.create_model(
        spec, precision=OPEN_CLIP_PRECISION[args.precision], device=backbone.device, weights_only=True
    )
    visual = bare.eval().visual
    dtype = next(visual.parameters()).dtype
    options: dict[str, Any] = {"shots": (N_NORMAL,), "seeds": (0,), "pixel": args.pixel, "batch_size": args.batch}
    options["methods"] = args.methods.split(",")

    entries = index_folder(folder)
    n_held = min(len(entries), args.held)
    held = [
        backbone.pixels(loaded.canvases, loaded.placements).to(dtype)
        for loaded in load_ahead(entries[:n_held], backbone, args.batch, with_masks=False)
    ]
    bare_forwards(visual, held[:3])
    rounds = []
    evaluate([warm_up], backbone, **options)
    for _ in range(args.rounds):
        rounds.append(
            (
                n_held / seconds(lambda: bare_forwards(visual, held), backbone.device),
                len(entries)
                / seconds(lambda: bare_with_decoding(visual, backbone, entries, args.batch, dtype), backbone.device),
                len(entries) / seconds(lambda: evaluate([folder], backbone, **options), backbone.device),
            )
        )
    bare_rate, decoding_rate, evaluate_rate = np.median(rounds, axis=0).tolist()
    return {
        "bare_images_per_s": round(bare_rate, 2),
        "bare_with_decoding_images_per_s": round(decoding_rate, 2),
        "evaluate_images_per_s": round(evaluate_rate, 2),
        "share": round(evaluate_rate / bare_rate, 3),
        "share_of_bare_with_decoding": round(evaluate_rate / decoding_rate, 3),
        "n_images": len(entries),
        "rounds": args.rounds,
        "model": args.model,
        "device": torch.cuda.get_device_name(backbone.device) if backbone.device.type == "cuda" else "cpu",
        "precision": args.precision,
        "batch": args.batch,
        "methods": options["methods"],
        "pixel": args.pixel,
        "side": args.side,
        "torch": torch.__version__,
    }


def main(given: list[str] | None = None) -> dict[str, Any]:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--model", default="ViT-L-14-336", help="an architecture of open_clip, or local-dir:FOLDER")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", default="bf16", choices=sorted(OPEN_CLIP_PRECISION))
    parser.add_argument("--n", type=int, default=2000, help="images, the normal ones included")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--side", type=int, default=448, help="of the images, in pixels")
    parser.add_argument("--suffix", default=".jpg", choices=[".jpg", ".png"])
    parser.add_argument("--methods", default="lake")
    parser.add_argument("--pixel", action="store_true", help="also read and compare masks")
    parser.add_argument("--held", type=int, default=1024, help="images held on the device for the bare figure")
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args(given)
    limit_threads()
    freeze_imports()
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        spec = args.model if args.model.startswith("local-dir:") else write_model(args.model, root / "model")
        folder = write_images(root / "images", args.n, args.side, args.suffix, args.pixel)
        warm_up = write_images(root / "warm_up", N_NORMAL + 3 * args.batch, args.side, args.suffix, args.pixel)
        found = measure(spec, folder, warm_up, args)
    print(json.dumps(found, indent=1))
    return found


if __name__ == "__main__":
    main()
