"""The tasks of an evaluation on a Ray cluster: an extra, `pip install ".[ray]"`.

A task is a category, as in the local engine, and gives the same numbers. Each worker has a GPU, or as many cores as
this process uses threads; it opens the backbone itself, runs one task after the other, and ends with the run, so that
the GPU is free again. A task whose worker dies is run again by another. The data sets' folder must be there under the
same path on all machines, and so must this package, in the same version. A cluster that was started by `ray start` asks
for its token: whoever names its address sets RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN where the token does not lie in
~/.ray.
"""

import os
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lake_core.backbones.backbone import Backbone
from lake_core.backbones.devices import checked_device
from lake_core.backbones.opening import Opening
from lake_core.backbones.process import freeze_imports
from lake_core.errors import BackboneError, ConfigError, LakeError
from lake_core.evaluation.outcome import CategoryOutcome
from lake_core.evaluation.protocol import CategoryProgress
from lake_core.evaluation.tasks import Task, run_task
from lake_core.version import package_version

MAX_RETRIES = 3
_IN_NODES = {"num_gpus": "GPU", "num_cpus": "CPU"}
"""What Ray reserves for a worker, by the names that its machines have it under."""
LOOK_S = 10.0
"""How often it is looked whether the cluster still has a machine for a worker that is waited for."""


class RayEngine:
    """Runs tasks on a Ray cluster.

    Args:
        opening: What each worker opens. Its device "auto" or "cuda" gives each worker a GPU of its own.
        address: Of a running cluster, as in "head:6379" or "auto"; None takes the one that this process is connected
            to, else starts one on this machine, which ends with the run.
        n_threads: Threads, and so cores, of each worker; None takes what PyTorch uses in this process. A worker with a
            GPU takes at most half of the cores that its machine has for each GPU.
        batch_size: Images in a forward pass; None takes 2 on the CPU and 64 on a GPU.

    Raises:
        ConfigError: if Ray is not installed.
    """

    def __init__(
        self, opening: Opening, address: str | None = None, n_threads: int | None = None, batch_size: int | None = None
    ) -> None:
        self.opening = opening
        self.batch_size = batch_size
        self._ray = _imported()
        self._address = address
        self._n_threads = n_threads

    def model_key(self) -> str:
        return self.opening.key(self._device_type())

    def run(self, tasks: Sequence[Task], on_progress: CategoryProgress | None) -> Iterator[CategoryOutcome]:
        """The outcomes of the tasks, each as soon as it is there; progress is reported when a task ends.

        Raises:
            ConfigError: if the cluster has no GPU and one is asked for, or no machine with enough cores.
            LakeError: what a task raised, or that its workers died again and again.
        """
        if not tasks:
            return
        with self._connected():
            for outcome in self._outcomes(tasks):
                if on_progress is not None:
                    on_progress(outcome.category, len(outcome.paths), len(outcome.paths))
                yield outcome

    def _device_type(self) -> str:
        """Where the workers' networks run: "cpu" or "cuda"."""
        if self.opening.device != "auto":
            return self.opening.device.partition(":")[0]
        if self._address is None and not self._ray.is_initialized():  # the cluster will be this machine
            return checked_device("auto").type
        with self._connected():
            return "cuda" if self._n_gpus() else "cpu"

    def _n_gpus(self) -> int:
        return int(self._ray.cluster_resources().get("GPU", 0))

    def _outcomes(self, tasks: Sequence[Task]) -> Iterator[CategoryOutcome]:
        """Gives each worker that is ready the next task, and replaces workers that died."""
        ray, errors = self._ray, self._ray.exceptions
        share = self._share()
        remote = ray.remote(**share.resources)(_Worker)
        waiting, deaths = deque(tasks), Counter[str]()
        busy: dict[Any, tuple[Any, Task | None]] = {}  # call -> worker, and its task unless it opens

        def engage() -> None:
            worker = remote.remote()
            busy[worker.open.remote(self.opening, share, package_version())] = worker, None

        try:
            for _ in range(min(share.n_workers, len(tasks))):
                engage()
            n_done = 0
            while n_done < len(tasks):  # a worker that the cluster has no room for is not waited for
                finished = self._first_of(busy, share)
                worker, task = busy.pop(finished)
                outcome: CategoryOutcome | None = None
                try:
                    outcome = ray.get(finished)
                except errors.RayTaskError as error:
                    if isinstance(error.cause, LakeError):
                        raise type(error.cause)(str(error.cause)) from error
                    raise
                except errors.RayError as error:
                    ray.kill(worker)
                    subject = "Opening the backbone" if task is None else task.category
                    deaths[subject] += 1
                    if deaths[subject] > MAX_RETRIES:
                        raise LakeError(
                            f"{subject}: its worker died {deaths[subject]} times ({str(error).splitlines()[0]}); look "
                            "at its memory, or give fewer or larger machines."
                        ) from error
                    if task is not None:
                        waiting.appendleft(task)
                    engage()
                    continue
                if waiting:
                    following = waiting.popleft()
                    busy[worker.run.remote(following)] = worker, following
                else:
                    ray.kill(worker)
                if outcome is not None:
                    n_done += 1
                    yield outcome
        finally:
            for worker, _ in busy.values():
                ray.kill(worker)

    def _first_of(self, busy: Mapping[Any, tuple[Any, Task | None]], share: "_Share") -> Any:
        """The call that ends first.

        Raises:
            LakeError: if all wait for a worker, and the cluster has lost the machines that a worker fits on.
        """
        while True:
            ended, _ = self._ray.wait(list(busy), num_returns=1, timeout=LOOK_S)
            if ended:
                return ended[0]
            if all(task is None for _, task in busy.values()) and not share.fits_on(self._ray.nodes()):
                raise LakeError(
                    f"The Ray cluster has no machine left that a worker fits on ({share.needs()}): start one again "
                    "with `ray start`, and go on with --resume."
                )

    @contextmanager
    def _connected(self) -> Iterator[None]:
        """While it lasts, this process is connected; what was connected before stays so."""
        started_here = self._connect()
        try:
            yield
        finally:
            if started_here:
                self._ray.shutdown()

    def _connect(self) -> bool:
        """Connects where this process is not connected; whether it must be disconnected afterwards."""
        ray = self._ray
        if ray.is_initialized():
            return False
        # Workers must import this very package, also where it is not installed but lies in the current folder.
        paths = [str(Path(__file__).resolve().parents[2]), *filter(None, [os.environ.get("PYTHONPATH")])]
        environment = {"PYTHONPATH": os.pathsep.join(paths)} if self._address is None else {}
        try:
            ray.init(
                address=self._address,
                runtime_env={"env_vars": environment},
                include_dashboard=None if self._address else False,
                log_to_driver=False,
                logging_level="ERROR",
            )
        except ConnectionError as error:
            raise ConfigError(
                f"No Ray cluster answers at {self._address} ({str(error).splitlines()[0]}): check --address, and if "
                "the cluster asks for a token, as it does by default, set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN here."
            ) from error
        return True

    def _share(self) -> "_Share":
        cluster, n_threads = self._ray.cluster_resources(), self._threads()
        n_gpus, n_cores = self._n_gpus(), int(cluster.get("CPU", 1))
        # Ray would wait without a word for what the cluster does not have.
        if self.opening.device.startswith("cuda") and not n_gpus:
            raise ConfigError("The Ray cluster has no GPU: start `ray start` where there is one, or give --device cpu.")
        if n_gpus and self.opening.device != "cpu":
            of_gpu = max(1, n_cores // n_gpus)
            return _Share(n_gpus, {"num_gpus": 1}, n_readers=of_gpu, n_threads=min(n_threads, max(1, of_gpu // 2)))
        largest = max(int(node["Resources"].get("CPU", 0)) for node in self._ray.nodes() if node["Alive"])
        if largest < n_threads:
            raise ConfigError(
                f"No machine of the Ray cluster has {n_threads} cores for a worker, the largest has {largest}: "
                f"set OMP_NUM_THREADS={max(1, largest)} here."
            )
        return _Share(n_cores // n_threads, {"num_cpus": n_threads}, n_readers=n_threads, n_threads=n_threads)

    def _threads(self) -> int:
        if self._n_threads is None:
            import torch

            self._n_threads = torch.get_num_threads()
        return self._n_threads


@dataclass(frozen=True)
class _Share:
    """How many workers the cluster has room for, what Ray reserves for each, and what each may use of its machine."""

    n_workers: int
    resources: dict[str, float]
    n_readers: int
    n_threads: int

    def fits_on(self, nodes: Iterable[Mapping[str, Any]]) -> bool:
        """Whether a worker fits on one of a cluster's machines, as from `ray.nodes()`, that are still there."""
        return any(
            node["Alive"] and all(node["Resources"].get(_IN_NODES[name], 0) >= n for name, n in self.resources.items())
            for node in nodes
        )

    def needs(self) -> str:
        """What a worker needs, in words."""
        return ", ".join(f"{_IN_NODES[name]}: {n:g}" for name, n in self.resources.items())


class _Worker:
    """Runs tasks in a process of its own, with the backbone that it opened there."""

    def open(self, opening: Opening, share: _Share, expected: str) -> None:
        """To be called first.

        Raises:
            BackboneError: if the backbone cannot be opened, or this machine has another version of this package.
        """
        import torch

        if package_version() != expected:
            raise BackboneError(
                f"A worker has LAKE Explorer {package_version()}, not {expected}: install the same on all machines."
            )
        torch.set_num_threads(share.n_threads)
        os.environ["LOKY_MAX_CPU_COUNT"] = str(share.n_readers)
        self._backbone: Backbone = opening.open()
        freeze_imports()

    def run(self, task: Task) -> CategoryOutcome:
        return run_task(task, self._backbone)


def _imported() -> Any:
    try:
        import ray
    except ImportError as error:
        raise ConfigError("The engine ray needs the extra of that name: pip install '.[ray]'.") from error
    return ray
