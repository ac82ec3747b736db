"""Boundaries that hold for every file: the core knows no interface, and nothing is ever unpickled."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lake_core.version import package_version

ROOT = Path(__file__).resolve().parents[2]
CORE = sorted((ROOT / "lake_core").rglob("*.py"))
ALL = [*CORE, *sorted((ROOT / "dashboard").rglob("*.py"))]
INTERFACE = {"streamlit", "plotly", "dashboard"}
UNPICKLERS = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}

# One exact exception to the first rule, and why.
MAY_IMPORT = {"lake_core/cli/dashboard.py": {"streamlit"}}  # `lake dashboard` starts the server, when it is called


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def imports(path: Path) -> Iterator[tuple[str, bool]]:
    """Top-level package of each import, and whether it is made when the file is imported."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    inner = {id(n) for f in ast.walk(tree) if isinstance(f, ast.FunctionDef | ast.Lambda) for n in ast.walk(f)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name.split(".")[0], id(node) not in inner) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            yield node.module.split(".")[0], id(node) not in inner


def calls(path: Path) -> Iterator[tuple[str, dict[str, ast.expr]]]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), {kw.arg: kw.value for kw in node.keywords if kw.arg}


@pytest.mark.parametrize("path", CORE, ids=name_of)
def test_the_core_knows_nothing_of_the_interface(path: Path) -> None:
    found = {(package, at_import) for package, at_import in imports(path) if package in INTERFACE}
    allowed = MAY_IMPORT.get(name_of(path), set())
    assert {(package, at_import) for package, at_import in found if package not in allowed or at_import} == set()


@pytest.mark.parametrize("path", ALL, ids=name_of)
def test_nothing_is_unpickled(path: Path) -> None:
    assert {package for package, _ in imports(path)} & UNPICKLERS == set()
    for function, options in calls(path):
        where = f"{name_of(path)}: {function}"
        weights_only = options.get("weights_only")
        if weights_only is not None or function in ("torch.load", "open_clip.create_model"):
            assert isinstance(weights_only, ast.Constant), where
            assert weights_only.value is True, where
        allow_pickle = options.get("allow_pickle")
        if allow_pickle is not None:
            assert isinstance(allow_pickle, ast.Constant), where
            assert allow_pickle.value is False, where
        assert not function.endswith("read_pickle"), where


@pytest.mark.parametrize("path", ALL, ids=name_of)
def test_each_file_begins_with_a_sentence_on_what_lives_there(path: Path) -> None:
    source = path.read_text(encoding="utf-8")
    if source.strip():
        assert (ast.get_docstring(ast.parse(source)) or "").split("\n\n")[0].rstrip().endswith((".", ":"))


def test_importing_the_core_imports_no_interface() -> None:
    code = (
        "import sys, lake_core; bad = {'streamlit', 'plotly', 'ray'} & set(sys.modules); "
        "print(sorted(bad)); sys.exit(bool(bad))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_public_name_exists() -> None:
    import lake_core

    assert lake_core.__version__ == package_version()

    assert sorted(lake_core.__all__) == lake_core.__all__
    assert all(hasattr(lake_core, name) for name in lake_core.__all__)


@pytest.mark.parametrize("path", ALL, ids=name_of)
def test_a_map_value_of_one_is_not_taken_for_the_greatest_normal_one(path: Path) -> None:
    """It is the calibration quantile of normal patches: the greatest is above it."""
    words = " ".join(re.sub(r'["\s]+f?"?', " ", path.read_text(encoding="utf-8")).split())
    assert "most unusual normal" not in words
    assert "normal extreme" not in words
