"""Boundaries that hold for every file: order of the rooms, private names, no interface in the core, no unpickling."""

import ast
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
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


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


@cache
def nodes(path: Path) -> tuple[ast.AST, ...]:
    return tuple(ast.walk(parsed(path)))


def imports(path: Path) -> Iterator[tuple[str, bool]]:
    """Top-level package of each import, and whether it is made when the file is imported."""
    inner = {id(n) for f in nodes(path) if isinstance(f, ast.FunctionDef | ast.Lambda) for n in ast.walk(f)}
    for node in nodes(path):
        if isinstance(node, ast.Import):
            yield from ((alias.name.split(".")[0], id(node) not in inner) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            yield node.module.split(".")[0], id(node) not in inner


def calls(path: Path) -> Iterator[tuple[str, dict[str, ast.expr]]]:
    for node in nodes(path):
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


def test_open_clip_and_timm_come_from_where_they_are_imported_without_the_compiler() -> None:
    found = {
        name_of(path) for path in ALL for package, _ in imports(path) if package in ("open_clip", "timm", "torchvision")
    }
    assert found == {"lake_core/backbones/libraries.py"}


def private_names(path: Path) -> Iterator[str]:
    """Names that begin with one underscore and belong to another module of this project: imported, or reached."""
    modules = set()
    for node in nodes(path):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in ("lake_core", "dashboard"):
            for alias in node.names:
                if is_private(alias.name):
                    yield f"{node.module}.{alias.name}"
                if is_module(f"{node.module}.{alias.name}"):
                    modules.add(alias.asname or alias.name)
    for node in nodes(path):
        match node:
            case ast.Attribute(ast.Name(owner), name) if owner in modules and is_private(name):
                yield f"{owner}.{name}"


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


def is_module(name: str) -> bool:
    path = ROOT / name.replace(".", "/")
    return path.with_suffix(".py").exists() or path.is_dir()


@pytest.mark.parametrize("path", ALL, ids=name_of)
def test_no_module_reaches_into_another_ones_private_names(path: Path) -> None:
    assert list(private_names(path)) == []


def test_private_names_of_other_modules_are_seen(tmp_path: Path) -> None:
    path = tmp_path / "guilty.py"
    path.write_text(
        "from lake_core.data.images import _hidden, __doc__\n"
        "from lake_core.data import images as read\n"
        "read._also_hidden, read.shown, self._own\n"
    )
    assert list(private_names(path)) == ["lake_core.data.images._hidden", "read._also_hidden"]


# The order of the rooms ----------------------------------------------------------------------------------------------

WRONG_WAY = {
    "metrics/decision": "data.images",
    "backbones/hooks": "detector.lake",
    "criteria/base": "config",
    "neurons/concepts": "experiments.selection_overlap",
    "types": "prompts",
}
"""Modules, and what they must not import."""


def contract_of_the_core(root: Path) -> subprocess.CompletedProcess[str]:
    """Checks the order of the rooms of the `lake_core` below a folder, as `make lint` does."""
    lint_imports = str(Path(sys.executable).with_name("lint-imports"))
    command = [lint_imports, "--no-cache", "--no-logo", "--contract", "core"]
    environment = os.environ | {"PYTHONPATH": str(root), "COLUMNS": "200"}
    return subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False)


def test_a_module_that_imports_against_the_order_of_the_rooms_fails_the_contract(tmp_path: Path) -> None:
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    for package in ("lake_core", "dashboard"):
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    kept = contract_of_the_core(tmp_path)
    assert kept.returncode == 0, kept.stdout + kept.stderr

    for module, wrong in WRONG_WAY.items():
        with (tmp_path / "lake_core" / f"{module}.py").open("a") as file:
            file.write(f"\nimport lake_core.{wrong}\n")
    broken = contract_of_the_core(tmp_path)
    assert broken.returncode == 1
    for module, wrong in WRONG_WAY.items():
        assert f"lake_core.{module.replace('/', '.')} -> lake_core.{wrong}" in broken.stdout


# What every file has ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ALL, ids=name_of)
def test_each_file_begins_with_a_sentence_on_what_lives_there(path: Path) -> None:
    if path.read_text(encoding="utf-8").strip():
        assert (ast.get_docstring(parsed(path)) or "").split("\n\n")[0].rstrip().endswith((".", ":"))


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
