"""The tasks of an evaluation on a Ray cluster: an extra, `pip install ".[ray]"`.

A task is a category, as in the local engine, and gives the same numbers. Each runs in a worker process that has a GPU,
or as many cores as this process uses threads; workers open the backbone themselves and keep it for the next task. A
task whose worker dies is run again. The data sets' folder must be there under the same path on all machines, and so
must this package, in the same version. A cluster that was started by `ray start` asks for its token: whoever names its
address sets RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN where the token does not lie in ~/.ray.
"""

import os
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from lake_core.backbones import Backbone, Opening
from lake_core.errors import BackboneError, ConfigError, LakeError
from lake_core.plan import Outcome, Report
from lake_core.trials import Task, run_task

MAX_RETRIES = 3
_OPENED: dict[Opening, Backbone] = {}
"""The backbone of this worker process: one at a time, because memory of a GPU is short."""


class RayEngine:
    """Runs tasks on a Ray cluster.

    Args:
        opening: What each worker opens. Its device "auto" or "cuda" gives each worker a GPU of its own.
        address: Of a running cluster, as in "head:6379" or "auto"; None takes the one that this process is connected
            to, else starts one on this machine, which ends with the run.
        n_threads: Threads, and so cores, of each worker; None takes what PyTorch uses in this process.

    Raises:
        ConfigError: if Ray is not installed.
    """

    def __init__(self, opening: Opening, address: str | None = None, n_threads: int | None = None) -> None:
        self.opening = opening
        self._ray = _imported()
        self._address = address
        self._n_threads = n_threads

    def model_key(self) -> str:
        o = self.opening
        return f"{o.spec}|{o.image_size}|{o.resize}|{o.device}|{o.precision}"

    def run(self, tasks: Sequence[Task], on_progress: Report | None) -> Iterator[Outcome]:
        """The outcomes of the tasks, each as soon as it is there; progress is told when a task ends.

        Raises:
            ConfigError: if GPUs are asked for and the cluster has none.
            LakeError: what a task raised, or that its worker died again and again.
        """
        if not tasks:
            return
        ray = self._ray
        started_here = self._connect()
        try:
            resources, n_readers = self._resources()
            # A worker is kept for the next task, with its backbone, also on a GPU.
            work = ray.remote(**resources, max_retries=MAX_RETRIES, max_calls=0)(_work)
            waiting = {
                work.remote(task, self.opening, self._threads(), n_readers, version("lake-explorer")): task
                for task in tasks
            }
            try:
                while waiting:
                    ready, _ = ray.wait(list(waiting), num_returns=1)
                    for reference in ready:
                        task = waiting.pop(reference)
                        outcome = self._outcome(reference, task)
                        if on_progress is not None:
                            on_progress(task.category, len(outcome["paths"]), len(outcome["paths"]))
                        yield outcome
            finally:
                for reference in waiting:
                    ray.cancel(reference, force=True)
        finally:
            if started_here:
                ray.shutdown()

    def _connect(self) -> bool:
        """Connects where this process is not connected; whether it must be disconnected afterwards."""
        ray = self._ray
        if ray.is_initialized():
            return False
        # Workers must import this very package, also where it is not installed but lies in the current folder.
        paths = [str(Path(__file__).resolve().parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])]
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

    def _resources(self) -> tuple[dict[str, float], int]:
        """What a worker takes of the cluster, and how many processes may read pictures for it."""
        cluster = self._ray.cluster_resources()
        wants_gpu, has_gpu = self.opening.device.startswith("cuda"), cluster.get("GPU", 0) > 0
        if wants_gpu and not has_gpu:
            # Ray would wait for one without a word.
            raise ConfigError("The Ray cluster has no GPU: start `ray start` where there is one, or give --device cpu.")
        if wants_gpu or (has_gpu and self.opening.device == "auto"):
            return {"num_gpus": 1}, max(1, int(cluster.get("CPU", 1) / cluster["GPU"]))
        return {"num_cpus": self._threads()}, self._threads()

    def _threads(self) -> int:
        if self._n_threads is None:
            import torch

            self._n_threads = torch.get_num_threads()
        return self._n_threads

    def _outcome(self, reference: Any, task: Task) -> Outcome:
        errors = self._ray.exceptions
        try:
            outcome: Outcome = self._ray.get(reference)
        except errors.RayTaskError as error:
            if isinstance(error.cause, LakeError):
                raise type(error.cause)(str(error.cause)) from error
            raise
        except errors.RayError as error:
            raise LakeError(
                f"{task.category}: its worker died {MAX_RETRIES + 1} times ({str(error).splitlines()[0]}); look at its "
                "memory, or give fewer or larger machines."
            ) from error
        return outcome


def _work(task: Task, opening: Opening, n_threads: int, n_readers: int, expected: str) -> Outcome:
    """One task, in a worker process."""
    import torch

    if version("lake-explorer") != expected:
        raise BackboneError(
            f"A worker has LAKE Explorer {version('lake-explorer')}, not {expected}: install the same on all machines."
        )
    torch.set_num_threads(n_threads)
    os.environ["LOKY_MAX_CPU_COUNT"] = str(n_readers)
    if opening not in _OPENED:
        _OPENED.clear()
        _OPENED[opening] = opening.open()
    return run_task(task, _OPENED[opening])


def _imported() -> Any:
    try:
        import ray
    except ImportError as error:
        raise ConfigError("The engine ray needs the extra of that name: pip install '.[ray]'.") from error
    return ray
