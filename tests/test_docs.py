"""What the documentation says is true of the program: commands, exit codes, versions, links."""

from __future__ import annotations

import re
import shlex
import tomllib
from pathlib import Path

import pytest
import typer.main

import perfmap
from perfmap.cli import app
from perfmap.cli.common import EXIT_CODES
from perfmap.errors import ConfigError, InputError, ModelError, PerfmapError

ROOT = Path(__file__).parents[1]
PAGES = sorted([ROOT / "README.md", ROOT / "CHANGELOG.md", *ROOT.glob("docs/**/*.md")])
FENCE = re.compile(r"^```\w*\n(.*?)^```", re.MULTILINE | re.DOTALL)


def commands_of(page: Path) -> list[str]:
    """Every `perfmap ...` line of a fenced block, continuation lines joined, comments left off."""
    blocks = "\n".join(FENCE.findall(page.read_text("utf-8"))).replace("\\\n", " ")
    lines = (line.strip().removeprefix("$ ") for line in blocks.splitlines())
    return [line for line in lines if line.startswith("perfmap ")]


COMMANDS = [pytest.param(line, id=f"{page.name}:{line[:60]}") for page in PAGES for line in commands_of(page)]


@pytest.mark.parametrize("line", COMMANDS)
def test_documented_command_is_one_the_program_takes(line: str) -> None:
    group = typer.main.get_command(app)
    words = shlex.split(line, comments=True)[1:]
    if words in (["--help"], ["--version"]):
        assert words[0] in {name for p in group.params for name in p.opts} | {"--help"}
        return
    with group.make_context("perfmap", list(words)) as context:
        name, verb, rest = group.resolve_command(context, words)
        verb.make_context(name, rest, parent=context)  # raises on an unknown verb, option or value


def test_readme_shows_every_verb() -> None:
    shown = {line.split()[1] for line in commands_of(ROOT / "README.md")}
    assert set(typer.main.get_command(app).commands) <= shown


def test_readme_states_the_exit_codes_of_the_program() -> None:
    rows = re.findall(r"^\| (\d+) \| (.+?) \|$", (ROOT / "README.md").read_text("utf-8"), re.MULTILINE)
    assert {int(code): meaning for code, meaning in rows} == EXIT_CODES


def test_every_error_has_an_exit_code_that_is_stated() -> None:
    assert {e.exit_code for e in (PerfmapError, ConfigError, InputError, ModelError)} <= set(EXIT_CODES)


def test_links_between_pages_lead_somewhere() -> None:
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#]+)", page.read_text("utf-8")):
            if not target.startswith(("http://", "https://")):
                assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_changelog_opens_with_the_version_at_hand() -> None:
    first = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.MULTILINE)
    assert first is not None
    assert first[1] == perfmap.__version__


def test_constraints_pin_every_dependency_within_its_range() -> None:
    requirement = re.compile(r"([A-Za-z0-9._-]+)(?:\[[^]]*\])?\s*(?:>=|==)\s*([0-9.]+)")
    pinned = dict(
        re.findall(r"^([a-z0-9._-]+)==([0-9.]+)", (ROOT / "constraints.txt").read_text("utf-8"), re.M)
    )
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    extras = project["optional-dependencies"]
    wanted = project["dependencies"] + [
        r for extra in extras if extra not in {"all", "bench"} for r in extras[extra]
    ]
    for line in wanted:
        found = requirement.match(line)
        assert found is not None, f"{line}: give a lowest version"
        name, lowest = found[1].lower(), found[2]
        assert name in pinned, f"{name} is missing in constraints.txt"
        assert version_tuple(pinned[name]) >= version_tuple(lowest)


def version_tuple(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))
