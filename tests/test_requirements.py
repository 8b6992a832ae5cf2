"""The requirements files name what the code imports, and nothing is left unpinned."""

from __future__ import annotations

import ast
import re
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from backend.app.config import ROOT

OWN = {"backend", "tests"}
PEERS = "tests/bench/peer_scripts"


def _pinned(file: str) -> dict[str, str]:
    """Distribution names in their normal form (PEP 503) with the versions of this file alone."""
    lines = [line.partition("#")[0].strip() for line in (ROOT / file).read_text().splitlines()]
    names = [line.partition("==") for line in lines if line and not line.startswith("-r ")]
    return {_normal(name): version for name, _, version in names}


def _imported(*directories: str) -> set[str]:
    """The modules that the code of these directories takes from elsewhere."""
    files = [file for name in directories for file in (ROOT / name).rglob("*.py")]
    # Programs that we are measured against bring what they need, in a .venv of their own.
    files = [file for file in files if file.parent != ROOT / PEERS]
    modules = {module.split(".")[0] for file in files for module in _modules(file)}
    return modules - OWN - sys.stdlib_module_names


def _modules(file: Path) -> list[str]:
    found = []
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.append(node.module)
    return found


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


@pytest.mark.parametrize(
    ("files", "directories"),
    [
        (["requirements.txt"], ["backend/app", "backend/scripts", "alembic"]),
        (["requirements.txt", "requirements-demo.txt"], ["backend/demo"]),
        (["requirements.txt", "requirements-demo.txt", "requirements-dev.txt"], ["tests"]),
    ],
)
def test_what_is_imported_is_required(files: list[str], directories: list[str]) -> None:
    pinned = {name for file in files for name in _pinned(file)}
    # pydantic_core and the like come with, and in the one version that fits, their owner.
    owned = {f"{name}-core" for name in pinned}
    for module in _imported(*directories):
        distributions = {_normal(name) for name in packages_distributions()[module]}
        assert distributions & (pinned | owned), module


@pytest.mark.parametrize(
    "file",
    [
        "requirements.txt",
        "requirements-demo.txt",
        "requirements-dev.txt",
        f"{PEERS}/requirements.txt",
    ],
)
def test_every_requirement_is_pinned(file: str) -> None:
    versions = _pinned(file)
    assert versions
    assert all(re.fullmatch(r"[0-9][0-9a-z.]*", version) for version in versions.values())
