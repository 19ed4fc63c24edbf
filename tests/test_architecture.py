"""The house rule: a module imports only what stands below it, and strangers do not know each other."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1] / "perfmap"
# Lowest first; rooms in one row are strangers to each other.
FLOORS: list[list[str]] = [
    ["errors", "quantities"],
    ["series"],
    ["io", "physics", "metrics", "models"],
    ["preprocess", "phantom"],
    ["engine"],
    ["report"],
    ["cli"],
    ["__main__"],
]
LEVEL = {room: level for level, rooms in enumerate(FLOORS) for room in rooms}
TORCH_ROOMS = {"engine", "models"}
FILES = sorted(ROOT.rglob("*.py"))


def room_of(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def imports_of(path: Path) -> set[str]:
    """Every module named in an import anywhere in the file, those inside functions too."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import; name the module in full"
            found |= {f"{node.module}.{alias.name}" for alias in node.names} | {str(node.module)}
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_point_down(path: Path) -> None:
    room = room_of(path)
    if room == "__init__":
        assert not any(name.startswith("perfmap.") for name in imports_of(path))
        return
    for name in imports_of(path):
        parts = name.split(".")
        if parts[0] != "perfmap" or len(parts) < 2 or parts[1] not in LEVEL:
            continue
        other = parts[1]
        assert other == room or LEVEL[other] < LEVEL[room], f"{room} must not import {name}"


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_torch_stays_in_engine_and_models(path: Path) -> None:
    if room_of(path) not in TORCH_ROOMS:
        assert not any(name.split(".")[0] == "torch" for name in imports_of(path))


def test_every_room_is_on_a_floor() -> None:
    assert {room_of(path) for path in FILES} - {"__init__"} <= set(LEVEL)
