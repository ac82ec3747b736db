"""Activations at hook points of a network, taken with permanent hooks that do nothing unless a call asks.

Hooks added and removed per call on a shared model corrupt data between threads. Here each hook point has one hook for
the life of the model; it hands its tensor to the collector that the *calling* context has opened, if any, and replaces
it if that context asks for it. Both live in a `ContextVar`, so two threads (or two sessions of the
dashboard) never see each other's activations.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Literal

from torch import Tensor, nn

from lake_core.types import HookPoint


@dataclass(frozen=True)
class Hook:
    """One hook: the module it sits on, and whether it takes the module's input or its output."""

    module: nn.Module
    takes: Literal["input", "output"]


@dataclass
class _Collector:
    owner: "Hooks"
    wanted: frozenset[HookPoint]
    convert: Callable[[HookPoint, Tensor], Tensor]
    found: dict[HookPoint, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class _Replacer:
    owner: "Hooks"
    functions: Mapping[HookPoint, Callable[[Tensor], Tensor]]


_COLLECTOR: ContextVar[_Collector | None] = ContextVar("lake_collector", default=None)
_REPLACER: ContextVar[_Replacer | None] = ContextVar("lake_replacer", default=None)


class Hooks:
    """The permanent hooks of one tower.

    Args:
        hooks: For each hook point, the module and the side of it where the activation passes.
        convert: Called at once with the hook point and the raw tensor; returns what is kept. It must copy: blocks that
            work in place (ReLU) overwrite the tensor right afterwards.
    """

    def __init__(self, hooks: Mapping[HookPoint, Hook], convert: Callable[[HookPoint, Tensor], Tensor]) -> None:
        self.hook_points = frozenset(hooks)
        self._convert = convert
        for hook_point, hook in hooks.items():
            if hook.takes == "input":
                hook.module.register_forward_pre_hook(self._input_hook(hook_point))
            else:
                hook.module.register_forward_hook(self._output_hook(hook_point))

    @contextmanager
    def collecting(self, wanted: frozenset[HookPoint]) -> Iterator[dict[HookPoint, Tensor]]:
        """Collect the wanted activations during the forward passes that this thread makes inside the `with` block.

        Yields:
            A dictionary that the hooks fill: hook point -> converted tensor of the latest forward pass.
        Raises:
            KeyError: if a wanted hook point has no hook.
        """
        self._check(wanted)
        collector = _Collector(self, wanted, self._convert)
        token = _COLLECTOR.set(collector)
        try:
            yield collector.found
        finally:
            _COLLECTOR.reset(token)

    @contextmanager
    def replacing(self, functions: Mapping[HookPoint, Callable[[Tensor], Tensor]]) -> Iterator[None]:
        """Replace tensors at hook points during the forward passes that this thread makes inside the `with` block.

        What is collected at a hook point, there and later in the network, is what was put in. Only the innermost block
        counts where they are nested.

        Args:
            functions: For each hook point, a function of the raw tensor as the tower has it. It returns a tensor of
                that shape, and must not change the one it was given.
        Raises:
            KeyError: if a hook point has no hook.
        """
        self._check(frozenset(functions))
        token = _REPLACER.set(_Replacer(self, functions))
        try:
            yield
        finally:
            _REPLACER.reset(token)

    def _check(self, hook_points: frozenset[HookPoint]) -> None:
        missing = hook_points - self.hook_points
        if missing:
            raise KeyError(f"no hook at {sorted(missing)}")

    def _visit(self, hook_point: HookPoint, tensor: Tensor) -> Tensor | None:
        """Collect, and return the tensor that replaces this one, or None where it stays."""
        replacer, collector = _REPLACER.get(), _COLLECTOR.get()
        put: Tensor | None = None
        if replacer is not None and replacer.owner is self and hook_point in replacer.functions:
            put = replacer.functions[hook_point](tensor)
        if collector is not None and collector.owner is self and hook_point in collector.wanted:
            collector.found[hook_point] = collector.convert(hook_point, tensor if put is None else put)
        return put

    def _input_hook(self, hook_point: HookPoint) -> Callable[[nn.Module, tuple[Any, ...]], tuple[Any, ...] | None]:
        def hook(_module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...] | None:
            put = self._visit(hook_point, inputs[0])
            return None if put is None else (put, *inputs[1:])

        return hook

    def _output_hook(self, hook_point: HookPoint) -> Callable[[nn.Module, tuple[Any, ...], Any], Any]:
        def hook(_module: nn.Module, _inputs: tuple[Any, ...], output: Any) -> Any:
            if isinstance(output, tuple):
                put = self._visit(hook_point, output[0])
                return None if put is None else (put, *output[1:])
            return self._visit(hook_point, output)

        return hook
