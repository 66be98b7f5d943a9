"""Bad inputs, class by class over every verb and option: one line each, with the way out and a status."""

from __future__ import annotations

import argparse
import contextlib
import re
import resource
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from clusterproof.cli import GROUPS, app
from clusterproof.exit_status import ExitStatus
from clusterproof.fixtures.options import OptionError, declare, parse
from clusterproof.reports.history.history import History
from clusterproof.reports.results.results import FILENAME
from tests.fakes import stay_alone
from tests.samples import cell, write_run

GROUP: Any = typer.main.get_command(app)
COMMANDS = GROUP.commands
VERBS = [verb for verbs in GROUPS.values() for verb in verbs]


def _parameters(kind: str, *, flags: bool = False) -> Iterator[tuple[str, str]]:
    for verb, command in COMMANDS.items():
        for one in command.params:
            if one.param_type_name == kind and getattr(one, "is_flag", False) is flags and one.name != "help":
                yield verb, max(one.opts, key=len)


OPTIONS = list(_parameters("option"))
FLAGS = list(_parameters("option", flags=True))
ARGUMENTS = list(_parameters("argument"))


def _of_qualify() -> list[str]:
    """Return the options of qualify that take a value."""
    parser = argparse.ArgumentParser(add_help=False)
    declare(lambda _: parser.add_argument)
    return [max(one.option_strings, key=len) for one in parser._actions if one.nargs != 0]


QUALIFY = [*_of_qualify(), "--repeat"]


@pytest.fixture(autouse=True)
def place(monkeypatch, tmp_path) -> Path:
    """A folder with a run and its history, and a lab that sees nothing of this computer."""
    stay_alone(monkeypatch, tmp_path / "lab")
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    monkeypatch.delenv("SUDO_USER", raising=False)
    write_run(here / "out" / "r1", [cell()])
    (here / "out" / "latest").symlink_to("r1")
    with History(here / "out" / "history.sqlite") as history:
        history.record([cell()])
    (here / "file").write_text("x")
    return here


def refused(*args: str) -> tuple[int, str]:
    """Run the verb; return its exit status and what it says, which is one line and no traceback."""
    result = CliRunner().invoke(app, list(args))
    text = result.output
    assert "Traceback" not in text
    said = [line for line in text.splitlines() if line.startswith("error: ")]
    assert len(said) == 1, text
    return result.exit_code, said[0]


def test_every_verb_is_looked_at():
    assert set(COMMANDS) == set(VERBS)
    assert len(OPTIONS) > 30
    assert len(QUALIFY) > 15


@pytest.mark.parametrize("verb", VERBS)
def test_an_option_that_there_is_not(verb):
    if verb in ("qualify", "chaos"):
        pytest.skip("passes what it does not know on to pytest, which refuses it: test_pytest_process.py")
    status, said = refused(verb, "--nonsense")
    assert status == ExitStatus.USAGE
    assert "--nonsense" in said
    assert f"clusterproof {verb} --help" in said


def test_a_verb_that_there_is_not():
    status, said = refused("qualifi")
    assert status == ExitStatus.USAGE
    assert "qualifi" in said


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("empty", ["", "  "])
def test_an_argument_that_is_empty(verb, empty):
    status, said = refused(verb, empty)
    assert status == ExitStatus.USAGE
    assert "is empty: a variable that is not set?" in said


@pytest.mark.parametrize(("verb", "option"), [*OPTIONS, *(("qualify", one) for one in QUALIFY)])
@pytest.mark.parametrize("apart", [True, False], ids=["apart", "joined"])
def test_an_option_whose_value_is_empty(verb, option, apart):
    status, said = refused(verb, *((option, "") if apart else (f"{option}=",)))
    assert status == ExitStatus.USAGE
    assert option in said
    assert "is empty" in said


@pytest.mark.parametrize("option", ["-k", "-m", "-n", "--deselect"])
def test_an_option_of_pytest_whose_value_is_empty(option):
    assert refused("qualify", option, "") == (
        ExitStatus.USAGE,
        f"error: an argument after {option} is empty: a variable that is not set? Give a value, or leave it out",
    )


@pytest.mark.parametrize("option", _of_qualify())
def test_pytest_called_directly_takes_no_empty_value_either(option):
    with pytest.raises(OptionError, match=rf"{option}.*(is empty|invalid choice)"):
        parse([option, ""])


@pytest.mark.parametrize("option", QUALIFY)
def test_an_option_of_qualify_without_its_value(option):
    status, said = refused("qualify", option)
    assert status == ExitStatus.USAGE
    assert f"{option}: expected one argument" in said


@pytest.mark.parametrize(("verb", "option"), OPTIONS)
def test_an_option_without_its_value(verb, option):
    status, said = refused(verb, option)
    assert status == ExitStatus.USAGE
    assert option in said


@pytest.mark.parametrize(("verb", "flag"), FLAGS)
def test_a_flag_with_a_value(verb, flag):
    status, said = refused(verb, f"{flag}=1")
    assert status == ExitStatus.USAGE
    assert flag in said


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (("--shard", "9/8"), 'invalid shard "9/8"'),
        (("--shard", "0/8"), 'invalid shard "0/8"'),
        (("--shard", "8"), 'invalid shard "8"'),
        (("--budget", "20"), '"20" is no time; write it like 90s, 20m or 2h'),
        (("--budget", "0m"), '"0m" is no time'),
        (("--gate", "lax"), 'policy "lax" is neither one of'),
        (("--gate", "qualification"), "clusterproof gate --policy qualification --build"),
        (("--evidence", "some"), "'some'"),
        (("--substrate", "glass"), "'glass'"),
        (("--fault", "earthquake"), "'earthquake'"),
        (("--keep", "all"), "'all'"),
        (("--repeat", "0"), '"0" is no number of times from 1 to 1000'),
        (("--repeat", "many"), '"many" is no number of times'),
        (("--json",), "--json is for --plan"),
    ],
)
def test_a_value_that_cannot_be(args, says):
    status, said = refused("qualify", *args)
    assert status == ExitStatus.USAGE
    assert says in said


# Every option and argument that names a place to write: what is called to write there, by the place's name.
WRITING = {
    "gate --junit": lambda at: ("gate", "--junit", at),
    "gate --summary": lambda at: ("gate", "--summary", at),
    "gate --badge": lambda at: ("gate", "--badge", at),
    "diff --page": lambda at: ("diff", "incus@7.0.2", "incus@7.0.2", "--page", at),
    "diff --history": lambda at: ("diff", "incus@7.0.2", "incus@7.0.2", "--history", at),
    "export --out": lambda at: ("export", "--out", at),
    "merge --history": lambda at: ("merge", "out/r1", "--history", at),
    "join --history": lambda at: ("join", "out/r1", "--run", "whole", "--history", at),
}
# Those that name a folder to make.
FOLDERS = {
    "site --out": lambda at: ("site", "--out", at),
    "join --run": lambda at: ("join", "out/r1", "--run", at),
}


@pytest.mark.parametrize("what", [*WRITING, *FOLDERS])
@pytest.mark.parametrize("at", ["file/below", "/proc/nope/x", "/dev/null/x"])
def test_a_place_that_cannot_be_written(place, what, at):
    status, said = refused(*(WRITING | FOLDERS)[what](at))
    assert status == ExitStatus.USAGE
    # What was given, and no file that is only there for a moment.
    assert f'"{at}' in said or f'"{place / at}' in said
    assert ".new" not in said
    assert "; " in said


@pytest.mark.parametrize("what", [one for one in WRITING if "history" not in one])
def test_a_folder_where_a_file_is_to_be(place, what):
    (place / "folder").mkdir()
    status, said = refused(*WRITING[what]("folder"))
    assert status == ExitStatus.USAGE
    assert '"folder": Is a directory' in said


@contextlib.contextmanager
def no_room() -> Iterator[None]:
    """Let no file grow: a disk without room, for one process."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


FULL = {
    **{what: call for what, call in WRITING.items() if what != "diff --history"},
    **FOLDERS,
    "matrix --run": lambda at: ("matrix", "--run", at),
}


@pytest.mark.parametrize("what", FULL)
def test_a_disk_without_room(place, what):
    at = "out/r1" if what == "matrix --run" else "fresh"
    if what == "matrix --run":
        # Its pages are written anew; what it reads is there.
        shutil.rmtree(place / "out" / "history.sqlite", ignore_errors=True)
    with no_room():
        status, said = refused(*FULL[what](at))
    assert status == ExitStatus.INCOMPLETE, said
    assert at in said or "history" in said or "whole" in said


@pytest.mark.parametrize(
    ("args", "status", "says"),
    [
        (("gate", "--run", "nope"), 64, 'no run folder "nope"'),
        (("gate", "--run", "file"), 64, 'no run folder "file"'),
        (("matrix", "--run", "nope"), 64, 'no run folder "nope"'),
        (("site", "nope"), 64, 'no run folder "nope"'),
        (("site", "--history", "nope"), 64, 'no history "nope"'),
        (("diff", "incus@1", "incus@2"), 64, "incus@1"),
        (("diff", "incus@7.0.2"), 64, "'after'"),
        (("export", "--history", "nope"), 64, 'no history "nope"'),
        (("merge", "nope"), 64, 'no file or folder "nope"'),
        (("merge",), 64, "'sources'"),
        (("merge", "file"), 64, 'no line of "file" is a result'),
        (("join", "nope", "--run", "x"), 64, '"nope"'),
        (("join", "out/r1", "--run", "out"), 64, '"out" is there already'),
        (("stability", "/dev/null"), 64, '"/dev/null" is empty'),
        (("stability", "out/r1", "--issue", "nope"), 64, 'no results of "nope"'),
        (("stability", "out/r1", "--times", "1"), 64, "--times"),
        (("issues", "zzzz-no-such-word"), 64, '"zzzz-no-such-word"'),
        (("gate", "--policy", "lax"), 64, 'policy "lax"'),
        (("gate", "--policy", "qualification"), 64, "name it with --build"),
        (("gate", "--against", "incus@6.0.4"), 64, "--against means nothing"),
        (("up",), 64, "it takes one build"),
        (("up", "--build", "incus@9.9"), 64, 'build "incus@9.9" is not in lab/products'),
        (("up", "--build", "incus@7.0.2", "--members", "0"), 64, "--members"),
        (("up", "--build", "incus@7.0.2", "--members", "x"), 64, "--members"),
        (("up", "--build", "incus@7.0.2", "--sideload", "x=y"), 64, "it takes one build"),
        (("bake", "incus@9.9"), 64, 'build "incus@9.9" is not in lab/products'),
        (("down",), 64, "there is no cluster to remove"),
        (("down", "--all"), 64, "there is no cluster to remove"),
        (("down", "x"), 64, '"x" is not the name of one cluster'),
        (("down", "x", "--all"), 64, "--all and a name exclude each other"),
        (("shell", "m1"), 64, "name one cluster with --cluster"),
        (("shell", "m1", "--cluster", "x"), 64, '"x" is not the name of one cluster'),
        (("shell",), 64, "'member'"),
        (("clear",), 64, "--cluster"),
        (("clear", "--cluster", "nope"), 64, "nope cannot be read"),
        (("prune", "--keep", "-1"), 64, "--keep"),
        (("up", "--build", "incus@7.0.2", "--lab-host", "nope"), 64, '"nope"'),
        (("sweep", "--lab-host", "/nope"), 2, "/nope"),
        (("chaos", "--calm", "nope"), 64, 'no results in "nope"'),
        (("chaos", "--minutes", "0"), 64, "--minutes"),
    ],
)
def test_what_is_not_there(args, status, says):
    found, said = refused(*args)
    assert says in said
    assert found == status
    assert "; " in said or "(" in said


def test_bytes_that_are_no_text_are_not_merged(place):
    (place / "bytes").write_bytes(bytes(range(128, 256)) * 20)
    status, said = refused("merge", "bytes")
    assert status == ExitStatus.USAGE
    assert said.endswith("nothing was merged")


def test_an_empty_file_is_not_merged(place):
    (place / "empty").write_text("")
    assert refused("merge", "empty")[1] == (
        'error: "empty" is empty; name run folders or files of results; nothing was merged'
    )


def test_a_run_that_was_cut_off_in_its_first_line_is_merged(place):
    (place / "cut").mkdir()
    (place / "cut" / FILENAME).write_text(cell().line()[:100])
    result = CliRunner().invoke(app, ["merge", "cut"])
    assert result.exit_code == 0
    assert "cut off in the middle" in result.output


@pytest.mark.parametrize("lab", ["/dev/null", "/dev/null/x", "/proc/nope"])
@pytest.mark.parametrize(
    "args",
    [("up", "--build", "incus@7.0.2"), ("sweep",), ("bake", "incus@7.0.2"), ("prune",)],
    ids=lambda args: args[0],
)
def test_a_lab_that_has_no_folder(monkeypatch, lab, args):
    monkeypatch.setenv("LAB_DIR", lab)
    result = CliRunner().invoke(app, list(args))
    assert "Traceback" not in result.output
    if args != ("prune",):
        assert result.exit_code in (ExitStatus.INCOMPLETE, ExitStatus.USAGE)
        assert lab in result.output


def test_a_fault_of_clusterproof_itself(monkeypatch, tmp_path):
    def fail(*_: object) -> None:
        raise ZeroDivisionError("by\nnothing")

    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(sys.modules["clusterproof.reports.commands.issues"], "search", fail)
    status, said = refused("issues")
    assert status == ExitStatus.FAULT
    assert re.search(r"clusterproof itself failed: ZeroDivisionError: by nothing \(\w+\.py:\d+\)", said)
    (log,) = tmp_path.glob("clusterproof-*.txt")
    assert str(log) in said
    assert "Traceback" in log.read_text()
