"""What the pages for people say can be followed: links, paths, commands, options and environments of tox."""

from __future__ import annotations

import configparser
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

import pytest
import typer

from clusterproof.cli import app
from clusterproof.fixtures.options import help_text
from clusterproof.lab.builds import catalogue

ROOT = Path(__file__).parents[1]
LISTED = subprocess.check_output(
    ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=ROOT, text=True
)
PAGES = sorted({ROOT / name for name in LISTED.split("\0") if name.endswith(".md") and (ROOT / name).exists()})
README = ROOT / "README.md"

FENCE = re.compile(r"^ *```(\w*)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
SPAN = re.compile(r"`([^`\n]+)`")
LINK = re.compile(r"\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
COMMENT = re.compile(r"(^|\s)#.*")
# Variables and sudo may stand before the program.
START = re.compile(r"^\s*(?:\$ )?(?:[A-Z_]+=\S* )*(?:sudo )?((?:clusterproof|tox) \S)")
# What a path in the text may begin with. Those in out/ exist only after a run.
ROOMS = ("lab", "fixtures", "reports", "suites", "clusterproof", "tests", "tools", "docs", ".github", ".ci")
PLACEHOLDER = re.compile(r"[<>*{}]|\.\.\.")
SHELLS = {"sh", "shell", "console"}
NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
# The environments of tox that hand what follows "--" to clusterproof qualify.
QUALIFYING = {"qualify", "qualify-vm"}


@dataclass(frozen=True)
class Command:
    """One command of a page: ``clusterproof`` or ``tox`` and its arguments."""

    page: Path
    argv: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}: {' '.join(self.argv)}"


def prose(page: Path) -> str:
    """Return the page without its code blocks."""
    return FENCE.sub("", page.read_text())


def commands() -> Iterator[Command]:
    """Yield every command of clusterproof or tox that the pages show, in blocks or within a sentence."""
    for page in PAGES:
        blocks = [body for language, body in FENCE.findall(page.read_text()) if language in SHELLS]
        lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
        for line in [*lines, *SPAN.findall(prose(page))]:
            for part in re.split(r"&&|\|", COMMENT.sub("", line)):
                if start := START.search(part):
                    yield Command(page, tuple(shlex.split(part[start.start(1) :])))


COMMANDS = list(commands())


def options(words: tuple[str, ...]) -> set[str]:
    """Return the options among ``words``, without their values."""
    return {word.partition("=")[0] for word in words if re.match(r"--?[a-zA-Z]", word)}


@pytest.fixture(scope="module")
def of_qualify() -> set[str]:
    """Every option that a run of the suites takes: pytest's, its plugins' and clusterproof's."""
    argv = [sys.executable, "-m", "pytest", "suites", "--help"]
    text = subprocess.check_output(argv, cwd=ROOT, text=True, timeout=60)
    return set(re.findall(r"(?<![\w-])--?[a-zA-Z][\w-]*", text + help_text()))


@pytest.fixture(scope="module")
def environments() -> set[str]:
    tox = configparser.ConfigParser(interpolation=None)
    tox.read(ROOT / "tox.ini")
    return {name.removeprefix("testenv:") for name in tox.sections() if name.startswith("testenv:")}


def verb(name: str):
    """Return the command ``name`` of clusterproof, or None."""
    group = typer.main.get_group(app)
    return group.commands.get(name)


def test_there_are_commands_to_look_at():
    assert {command.page for command in COMMANDS} >= {README, ROOT / "docs/lab.md", ROOT / "docs/ci.md"}
    assert {command.argv[0] for command in COMMANDS} == {"clusterproof", "tox"}


@pytest.mark.parametrize("command", [one for one in COMMANDS if one.argv[0] == "clusterproof"], ids=str)
def test_a_command_and_its_options_exist(command, of_qualify):
    _, *words = command.argv
    if words[0] == "--help":
        return
    if words[0] == "qualify":
        assert options(tuple(words)) <= of_qualify
        return
    known = verb(words[0])
    assert known is not None, f"there is no clusterproof {words[0]}"
    # What follows "--" is for the program that is started.
    given = options(tuple(words[: words.index("--")] if "--" in words else words))
    # Chaos hands on to qualify what is not its own.
    handed_on = of_qualify if words[0] == "chaos" else set()
    assert given <= {name for parameter in known.params for name in parameter.opts} | {"--help"} | handed_on


@pytest.mark.parametrize("command", [one for one in COMMANDS if one.argv[0] == "tox"], ids=str)
def test_an_environment_of_tox_exists_and_takes_what_it_is_given(command, environments, of_qualify):
    split = command.argv.index("--") if "--" in command.argv else len(command.argv)
    before, after = command.argv[:split], command.argv[split + 1 :]
    named = before[before.index("-e") + 1].split(",")
    assert set(named) <= environments
    if set(named) <= QUALIFYING:
        assert options(after) <= of_qualify


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    for link in LINK.findall(prose(page)):
        if "://" in link:
            continue
        place, _, anchor = unquote(link).partition("#")
        target = (page.parent / place).resolve() if place else page
        assert target.exists(), link
        assert target.is_relative_to(ROOT), link
        if anchor:
            assert anchor in {slug(heading) for heading in HEADING.findall(prose(target))}, link


def slug(heading: str) -> str:
    """Return the anchor that GitHub gives to a heading."""
    return re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_paths_are_in_the_repository(page):
    for span in SPAN.findall(prose(page)):
        path = span.split("::")[0].split(":")[0].rstrip("/")
        if path.split("/")[0] in ROOMS and "/" in path and " " not in path:
            if PLACEHOLDER.search(path):
                path = re.sub(r"<[^>]*>|\{[^}]*\}|\.\.\.", "*", path)
                assert list(ROOT.glob(path)), span
            else:
                assert (ROOT / path).exists(), span


def test_every_page_is_reached_from_the_readme():
    reached, waiting = {README}, [README]
    while waiting:
        page = waiting.pop()
        for link in LINK.findall(prose(page)):
            target = (page.parent / unquote(link).partition("#")[0]).resolve()
            if target.is_dir():
                targets = [other for other in PAGES if other.parent == target]
            else:
                targets = [target] if target in PAGES else []
            waiting += [other for other in targets if other not in reached]
            reached.update(targets)
    assert [str(page.relative_to(ROOT)) for page in PAGES if page not in reached] == []


def test_the_readme_says_how_much_a_run_of_everything_is(tmp_path):
    said = re.search(r"(\d+) cells on (\w+) builds, an estimated\s+hour on two cores", README.read_text())
    assert said
    argv = [sys.executable, "-m", "clusterproof", "qualify", "--plan", "-n", "2", f"--out={tmp_path}"]
    lab = os.environ | {"LAB_DIR": str(tmp_path)}
    text = subprocess.check_output(argv, cwd=ROOT, env=lab, text=True, timeout=200)
    plan = re.search(r"^plan: (\d+) cells, about ([\d.]+) min with 2 workers$", text, re.MULTILINE)
    assert plan, text[-500:]
    assert said[1] == plan[1]
    assert NUMBERS.index(said[2]) == len(catalogue.load().select())
    # What runs took on a quiet computer; the hour has room for one that is not.
    assert float(plan[2]) <= 60


def test_the_readme_is_a_door_and_no_manual():
    assert len(README.read_text().splitlines()) <= 90
