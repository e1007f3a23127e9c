"""The rules of the house: imports point one way, and a serving worker stays light."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MAY_IMPORT = {
    "features": set(),
    "training": {"features"},
    "serving": {"features", "training"},
    "simulation": set(),
    "command": {"features", "training", "serving", "simulation"},
}
HEAVY = ("torch", "implicit", "mlflow", "pandas", "ibis", "lightgbm", "matplotlib", "pyarrow")
ONLY_IN = {
    "babel": {"serving/mail_words.py"},
    "mlflow": {"training/tracking.py", "training/mlflow_model.py"},
    "bentoml": {"serving/service.py"},
    "implicit": {"training/fitting"},
    "torch": {"training/fitting"},
    "lightgbm": {"training/fitting"},
    "optuna": {"training/tuning.py"},
    "onnxruntime": {"training/rankers/onnx_model.py"},
    "faiss": {"training/retrieval.py"},
    "redis": {"serving/redis_state.py", "features/told_in_redis.py"},
    "prometheus_client": {"serving/telemetry.py"},
}


def imports(file: Path) -> set[str]:
    """Top-level packages that a file imports anywhere."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.split(".")[0])
    return found


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_imports_point_one_way(package):
    files = list((ROOT / package).rglob("*.py"))
    assert files
    for file in files:
        ours = imports(file) & set(MAY_IMPORT) - {package}
        assert ours <= MAY_IMPORT[package], f"{file.relative_to(ROOT)} imports {sorted(ours)}"


@pytest.mark.parametrize("library", ONLY_IN)
def test_an_outside_tool_lives_in_one_place(library):
    for file in (f for package in MAY_IMPORT for f in (ROOT / package).rglob("*.py")):
        if library in imports(file):
            place = file.relative_to(ROOT).as_posix()
            assert any(place.startswith(home) for home in ONLY_IN[library]), place


def loaded_by(module: str) -> set[str]:
    """Top-level modules in a fresh process after importing `module`."""
    code = f"import sys, {module}; print(*{{name.split('.')[0] for name in sys.modules}})"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(run.stdout.split())


def test_a_serving_worker_loads_nothing_heavy():
    assert not loaded_by("serving.service") & set(HEAVY)


def test_the_command_line_loads_little_before_it_knows_the_verb():
    assert not loaded_by("feeds") & {*HEAVY, "bentoml", "scipy"}


def test_every_file_keeps_to_the_house_numbers():
    for file in (f for package in MAY_IMPORT for f in (ROOT / package).rglob("*.py")):
        text = file.read_text()
        assert text.count("\n") <= 350, f"{file} is too long: split it"
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or 0) - node.lineno + 1
                assert lines <= 45, f"{file}:{node.lineno} {node.name} has {lines} lines"
