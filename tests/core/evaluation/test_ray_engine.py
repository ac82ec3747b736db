"""The same metrics on a Ray cluster as in this process, also when a worker is killed in the middle of a task."""

import builtins
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lake_core.backbones.opening import Opening
from lake_core.errors import BackboneError, ConfigError, LakeError
from lake_core.evaluation import ray_engine, runner
from lake_core.evaluation.checkpoint import Checkpoint
from lake_core.evaluation.outcome import CategoryOutcome
from lake_core.evaluation.protocol import FewShotProtocol
from lake_core.evaluation.ray_engine import RayEngine
from lake_core.evaluation.runner import evaluate
from lake_core.evaluation.tasks import Task
from tests.core.running import without_times
from tests.core.tiny import write

ROOT = Path(__file__).resolve().parents[3]
PROTOCOL = FewShotProtocol((1, 2), (0, 1), ("lake", "random", "text", "patchcore", "winclip"))


def write_set(root: Path, seed: int) -> Path:
    rng = np.random.default_rng(seed)

    def save(path: str, array: np.ndarray) -> None:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(array).save(root / path)

    for i in range(3):
        save(f"train/good/{i}.png", rng.integers(90, 160, (48, 48, 3), dtype=np.uint8))
        save(f"test/good/{i}.png", rng.integers(90, 160, (48, 48, 3), dtype=np.uint8))
        pixels, mask = rng.integers(90, 160, (48, 48, 3), dtype=np.uint8), np.zeros((48, 48), np.uint8)
        pixels[8 * i : 8 * i + 16, 10:30], mask[8 * i : 8 * i + 16, 10:30] = 255, 255
        save(f"test/spot/{i}.png", pixels)
        save(f"ground_truth/spot/{i}_mask.png", mask)
    return root


@pytest.fixture(scope="module")
def opening(tmp_path_factory: pytest.TempPathFactory) -> Opening:
    """A tiny backbone that any process can open."""
    return Opening(f"local-dir:{write('native-vit', tmp_path_factory.mktemp('model') / 'tiny')}")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    root = tmp_path_factory.mktemp("sets")
    return [write_set(root / name, seed) for seed, name in enumerate(("plate", "tile", "cloth"))]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """Ray on this machine, with two workers of one core each and little memory."""
    ray = pytest.importorskip("ray")
    ray.init(
        address="local",
        num_cpus=2,
        num_gpus=0,
        object_store_memory=80 * 1024**2,
        include_dashboard=False,
        log_to_driver=False,
        runtime_env={"env_vars": {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}},
    )
    yield ray
    ray.shutdown()


@pytest.mark.timeout(240)
def test_metrics_are_the_same_and_a_killed_worker_loses_nothing(
    cluster: Any, folders: list[Path], opening: Opening, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    local = evaluate(folders, opening.open(), protocol=PROTOCOL)
    there = evaluate(folders, RayEngine(opening, n_threads=1), protocol=PROTOCOL)
    assert without_times(there) == without_times(local)

    # The first worker that takes the second task waits there for good, until it is killed.
    pids = tmp_path / "pids"

    class Stopping(ray_engine._Worker):
        def run(self, task: Task) -> CategoryOutcome:
            with pids.open("a") as file:
                file.write(f"{task.category} {os.getpid()}\n")
            if task.category == "tile" and pids.read_text().count("tile") == 1:
                time.sleep(120)
            return super().run(task)

    monkeypatch.setattr(ray_engine, "_Worker", Stopping)
    done: list[str] = []

    def kill_it(name: str, *_: int) -> None:
        done.append(name)
        if len(done) == 2:  # the other two are finished, so the one in the middle of its task is the one that waits
            started = [line.split() for line in pids.read_text().splitlines()]
            first = next(pid for category, pid in started if category == "tile")
            os.kill(int(first), signal.SIGKILL)

    out = tmp_path / "out.json"
    engine = RayEngine(replace(opening, device="auto"), n_threads=1)
    after = evaluate(folders, engine, protocol=PROTOCOL, on_progress=kill_it, checkpoint=Checkpoint(out, resume=False))
    assert without_times(after) == without_times(local)
    assert pids.read_text().count("tile") == 2
    assert sorted(done) == ["cloth", "plate", "tile"]

    # What was kept serves the local engine too: no image is read again.
    monkeypatch.setattr(runner, "run_task", lambda *_: pytest.fail("it begins anew"))
    again = evaluate(folders, opening.open(), protocol=PROTOCOL, checkpoint=Checkpoint(out, resume=True))
    assert without_times(again) == without_times(local)


@pytest.mark.timeout(120)
def test_what_a_worker_cannot_do_is_told_in_its_own_words(cluster: Any, folders: list[Path]) -> None:
    with pytest.raises(BackboneError, match=r"local-dir:/nowhere: the folder /nowhere does not exist"):
        evaluate(folders[:1], RayEngine(Opening("local-dir:/nowhere"), n_threads=1), protocol=PROTOCOL)


def test_a_cluster_without_a_gpu_is_not_waited_for(cluster: Any, folders: list[Path], opening: Opening) -> None:
    there = RayEngine(Opening(opening.spec, device="cuda"), n_threads=1)
    with pytest.raises(ConfigError, match=r"The Ray cluster has no GPU"):
        evaluate(folders[:1], there, protocol=PROTOCOL)


def test_a_cluster_of_small_machines_is_not_waited_for(cluster: Any, folders: list[Path], opening: Opening) -> None:
    with pytest.raises(ConfigError, match=r"has 3 cores for a worker, the largest has 2: set OMP_NUM_THREADS=2"):
        evaluate(folders[:1], RayEngine(opening, n_threads=3), protocol=PROTOCOL)


@pytest.mark.timeout(120)
def test_workers_end_with_the_run(cluster: Any, folders: list[Path], opening: Opening) -> None:
    evaluate(folders[:1], RayEngine(opening, n_threads=1), protocol=PROTOCOL)
    deadline = time.monotonic() + 30
    while cluster.available_resources().get("CPU", 0) < 2 and time.monotonic() < deadline:
        time.sleep(0.2)
    assert cluster.available_resources()["CPU"] == 2


@pytest.mark.timeout(240)
def test_a_task_whose_workers_die_again_and_again_is_given_up(
    cluster: Any, folders: list[Path], opening: Opening, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    starts = tmp_path / "starts"

    class Dying(ray_engine._Worker):
        def run(self, task: Task) -> CategoryOutcome:
            with starts.open("a") as file:
                file.write("start\n")
            os.kill(os.getpid(), signal.SIGKILL)
            raise AssertionError("it lives on")

    monkeypatch.setattr(ray_engine, "_Worker", Dying)
    monkeypatch.setattr(ray_engine, "MAX_RETRIES", 1)
    with pytest.raises(LakeError, match=r"plate: its worker died 2 times \(.*\); look at its memory"):
        evaluate(folders[:1], RayEngine(opening, n_threads=1), protocol=PROTOCOL)
    assert len(starts.read_text().splitlines()) == 2


def test_an_address_where_nothing_answers_is_told_with_what_to_check(
    folders: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    ray = pytest.importorskip("ray")

    def refused(**_: Any) -> None:
        raise ConnectionError("Failed to connect to Ray cluster at head:1")

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", refused)
    with pytest.raises(ConfigError, match=r"answers at head:1 .*check --address.*RAY_AUTH_MODE=token"):
        evaluate(folders[:1], RayEngine(Opening(), "head:1", n_threads=1), protocol=PROTOCOL)


def test_without_ray_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any, **options: Any) -> Any:
        if name == "ray":
            raise ImportError(name)
        return real(name, *rest, **options)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ConfigError, match=r"pip install '.\[ray\]'"):
        RayEngine(Opening())


def test_a_cluster_that_lost_its_machines_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    class Lost:
        """A cluster whose last machine is gone: no call ends."""

        n_waits = 0

        def wait(self, calls: list[Any], num_returns: int, timeout: float) -> tuple[list[Any], list[Any]]:
            self.n_waits += 1
            return [], calls

        def nodes(self) -> list[dict[str, Any]]:
            has_room = self.n_waits < 3
            return [
                {"Alive": False, "Resources": {"CPU": 8.0}},
                {"Alive": True, "Resources": {"CPU": 2.0 if has_room else 1.0}},
            ]

    engine, lost = RayEngine(Opening()), Lost()
    monkeypatch.setattr(engine, "_ray", lost)
    share = ray_engine._Share(1, {"num_cpus": 2}, n_readers=2, n_threads=2)
    with pytest.raises(LakeError, match=r"no machine left that a worker fits on \(CPU: 2\)"):
        engine._first_of({"call": ("worker", None)}, share)
    assert lost.n_waits == 3
