"""`lake evaluate` on several GPUs of one host through Ray, beside one GPU in this process, with random weights.

    python -m tests.benchmarks.ray_gpus --model ViT-L-14-336 --categories 4 --n 1000

First in fp32 with all methods: are the documents equal but for their times? Then in bf16 with one method and without
masks: images per second. Workers start and open the backbone in each run, so a run with few images is timed too,
and the rate is that of the images which the longer run has more.
"""

import argparse
import json
import logging
import tempfile
import time
from pathlib import Path
from typing import Any

import ray
import torch

from lake_core.backbones.opening import Opening
from lake_core.backbones.process import freeze_imports, limit_threads
from lake_core.evaluation.ray_engine import RayEngine
from lake_core.evaluation.runner import Engine, LocalEngine, evaluate
from tests.benchmarks.gpu_throughput import N_NORMAL, write_images, write_model
from tests.core.running import without_times

ALL: dict[str, Any] = {"shots": (1, N_NORMAL), "seeds": (0, 1), "with_scores": True}
QUICK: dict[str, Any] = {"shots": (N_NORMAL,), "seeds": (0,), "methods": ("lake",), "pixel": False}


def timed(folders: list[Path], engine: Engine, options: dict[str, Any]) -> tuple[dict[str, Any], float]:
    """The document, and the seconds that it took."""
    started = time.perf_counter()
    document = evaluate(folders, engine, **options)
    return document, time.perf_counter() - started


def main(given: list[str] | None = None) -> dict[str, Any]:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--model", default="ViT-L-14-336", help="an architecture of open_clip, or local-dir:FOLDER")
    parser.add_argument("--device", default="cuda", help="cpu tries the script")
    parser.add_argument("--fast", default="bf16", help="precision of the second part")
    parser.add_argument("--categories", type=int, default=4)
    parser.add_argument("--n", type=int, default=1000, help="images of a category for the speed")
    parser.add_argument("--n-equal", type=int, default=100, help="images of a category for the comparison")
    parser.add_argument("--side", type=int, default=448)
    args = parser.parse_args(given)
    limit_threads()
    freeze_imports()
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        spec = args.model if args.model.startswith("local-dir:") else write_model(args.model, root / "model")
        few, many = (
            [write_images(root / name / f"set{i}", n, args.side, ".jpg", True) for i in range(args.categories)]
            for name, n in (("few", args.n_equal), ("many", args.n))
        )
        ray.init(include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
        found: dict[str, Any] = {"gpus": ray.cluster_resources().get("GPU", 0), "model": args.model}
        found["gpu"] = torch.cuda.get_device_name() if torch.cuda.is_available() else None
        parts: list[tuple[Any, dict[str, Any]]] = [("fp32", ALL), (args.fast, QUICK)]
        for precision, options in parts:
            opening = Opening(spec, device=args.device, precision=precision)
            local, several = LocalEngine(opening.open()), RayEngine(opening)
            if options is ALL:
                documents = [without_times(timed(few, engine, options)[0]) for engine in (local, several)]
                found["documents_equal"] = documents[0] == documents[1]
                found["rows"] = len(documents[0]["results"])
                print(json.dumps(found), flush=True)
            else:
                timed(few, local, options)
                n_more = args.categories * (args.n - args.n_equal)
                found["images_more"] = n_more
                for name, engine in (("one_gpu", local), ("ray", several)):
                    shorter, longer = (timed(folders, engine, options)[1] for folders in (few, many))
                    found |= {
                        f"{name}_few_s": round(shorter, 2),
                        f"{name}_per_s": round(n_more / (longer - shorter), 1),
                    }
        ray.shutdown()
    print(json.dumps(found, indent=1))
    return found


if __name__ == "__main__":
    main()
