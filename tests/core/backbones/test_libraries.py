"""open_clip and timm come without PyTorch's compiler, and the compiler is as it was for whoever wants it."""

import subprocess
import sys

import pytest

from tests.core.cli.commands import ROOT

LEFT_OUT = """
import sys
from lake_core.backbones.opening import open_backbone
open_backbone("lake-cnn")
assert not {"torch._dynamo", "torch._dynamo.utils", "sympy"} & sys.modules.keys(), "the compiler was imported"
"""
AS_IT_WAS = """
import torch
disable = torch.compiler.disable
import lake_core.backbones.libraries
assert torch.compiler.disable is disable
import torch._dynamo.utils
assert torch._dynamo.utils.__file__ and torch._dynamo.utils.counters is not None
"""
TORCHVISION_ASKS_IT = """
import sys
from lake_core.backbones import libraries
roi_align = sys.modules["torchvision.ops.roi_align"]
if hasattr(roi_align, "is_compile_supported"):
    answer = roi_align.is_compile_supported("cpu")
    from torch._dynamo.utils import is_compile_supported
    assert answer is is_compile_supported("cpu")
"""
TIMM_KEEPS_IT_AWAY = """
import torch
from lake_core.backbones import libraries
with libraries._compiler_when_called():
    @torch.compiler.disable
    def twice(x):
        return 2 * x
    @torch.compiler.disable(recursive=False, reason="a test")
    def thrice(x, factor=3):
        return factor * x
assert (twice(2), thrice(2), thrice(2, factor=4)) == (4, 6, 8)
assert torch.compile(twice, backend="eager")(torch.ones(1)).item() == 2
"""
COMPILER_THERE_BEFORE = """
import torch._dynamo
before = torch._dynamo.utils
import lake_core.backbones.libraries
assert torch._dynamo.utils is before
"""
MORE_IS_ASKED_OF_IT = """
import sys
from lake_core.backbones import libraries
with libraries._compiler_when_called():
    from torch._dynamo.utils import counters
    import torch._dynamo
assert counters is torch._dynamo.utils.counters
assert sys.modules["torch._dynamo.utils"] is torch._dynamo.utils
"""


@pytest.mark.parametrize(
    "code",
    [LEFT_OUT, AS_IT_WAS, TORCHVISION_ASKS_IT, TIMM_KEEPS_IT_AWAY, COMPILER_THERE_BEFORE, MORE_IS_ASKED_OF_IT],
    ids=["left out", "as it was", "torchvision asks it", "timm keeps it away", "there before", "more is asked of it"],
)
def test_the_compiler(code: str) -> None:
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
