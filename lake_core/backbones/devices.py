"""Where a network runs and with which numbers: names of devices and precisions, checked before anything is opened."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal, get_args

import torch
from torch import nn

from lake_core.errors import BackboneError

Precision = Literal["fp32", "bf16", "fp16"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)
_DTYPES: dict[str, torch.dtype] = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def checked_device(name: str) -> torch.device:
    """The device of that name.

    Args:
        name: "cpu", "cuda", "cuda:1" ... or "auto" (CUDA where there is one).
    Raises:
        BackboneError: if there is no such device here.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if not re.fullmatch(r"cpu|cuda(:\d+)?", name):
        raise BackboneError(f"The device {name!r} is not known; use cpu, cuda, cuda:1 ... or auto.")
    device = torch.device(name)
    if device.type == "cuda":
        if not torch.cuda.is_available():
            raise BackboneError(f"The device {name} was asked for and PyTorch sees no CUDA GPU; use cpu or auto.")
        n_devices = torch.cuda.device_count()
        if device.index is not None and device.index >= n_devices:
            raise BackboneError(f"There is no {name}: PyTorch sees {n_devices} CUDA GPU(s), counted from cuda:0.")
    return device


def device_name(device: torch.device) -> str:
    """What people call a device: cpu, or the name of the GPU."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def checked_precision(name: str) -> torch.dtype:
    """The number type of a precision.

    Raises:
        BackboneError: if it is not one of PRECISIONS.
    """
    if name not in PRECISIONS:
        raise BackboneError(f"The precision {name!r} is not known; use {', '.join(PRECISIONS)}.")
    return _DTYPES[name]


def convert_weights(tower: nn.Module, dtype: torch.dtype) -> None:
    """Brings a tower's weights to a number type, in place; batch statistics stay float32, where 8 bits are too few."""
    if dtype == torch.float32:
        return
    tower.to(dtype)
    for module in tower.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.float()


@contextmanager
def exact_convolutions() -> Iterator[None]:
    """While it lasts, CUDA convolutions of float32 numbers keep all their bits (by default they drop some)."""
    cudnn: Any = torch.backends.cudnn
    with cudnn.flags(
        enabled=cudnn.enabled, benchmark=cudnn.benchmark, deterministic=cudnn.deterministic, allow_tf32=False
    ):
        yield
