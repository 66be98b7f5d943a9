"""The command ``clusterproof``: the verbs of the lab and of the reports, and ``qualify``."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import typer

from clusterproof import SUITES
from clusterproof.fixtures.chaos.command import PASS_ON, chaos
from clusterproof.fixtures.interruption import COMMAND, command_of
from clusterproof.fixtures.new_issue import new_issue
from clusterproof.fixtures.options import OptionError, help_text, parse
from clusterproof.fixtures.several import plan_as_json, repeat
from clusterproof.lab.commands import app as lab
from clusterproof.reports.commands import app as reports
from clusterproof.reports.commands.errors import refuse
from clusterproof.verbs import Verbs

app = typer.Typer(
    cls=Verbs,
    help="What LXD and Incus clusters really do, build by build.",
    no_args_is_help=True,
    add_completion=False,
)
# The help's one screen: every verb in its group, in this order.
GROUPS = {
    "Judge builds": {
        "qualify": "Run scenarios on clusters of builds and judge them",
        "matrix": "Print the matrix of a run and make its pages again",
        "gate": "Say whether a run may pass",
        "diff": "Say what changes from one build to another",
        "issues": "Find documented issues by words",
        "site": "Make a site of all runs in the history",
    },
    "Use the lab": {
        "doctor": "Say what this computer can run, and what would change that",
        "builds": "List the builds that can be asked for",
        "bake": "Make the images of builds",
        "rehearse": "Make snaps of LXD from Debian's packages",
        "up": "Make a cluster for a person to use",
        "shell": "Enter a member of it, or run a command there",
        "down": "Remove it",
        "sweep": "Remove what dead runs left",
        "prune": "Say what old images and evidence take, and remove it",
        "clear": "Remove what dead runs left on an existing cluster",
    },
    "Keep results": {
        "merge": "Add the results of runs to the history",
        "join": "Join the shards of a run to one run",
        "export": "Write the history as lines of JSON, which merge reads",
        "stability": "Say whether each cell gave one verdict in its last runs",
        "prove": "Keep beside the ledger what runs showed of its bounds",
        "schema": "Print the JSON schema of results, matrix or ledger",
    },
    "Write scenarios": {
        "new-issue": "Make the two files of a documented issue",
        "chaos": "Run cells under attack: does any verdict turn?",
    },
}
TO_PYTEST = {"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": []}


@app.command(context_settings=TO_PYTEST)
def qualify(context: typer.Context) -> None:
    """Run scenarios on clusters of builds and judge them; --help lists the options."""
    if {"-h", "--help"} & set(context.args):
        typer.echo(help_text(), nl=False)
        return
    try:
        asked, arguments = parse(context.args)
    except OptionError as error:
        refuse(f"{error}; clusterproof qualify --help")
    if asked.json and not asked.plan:
        refuse("--json is for --plan; results are in results.jsonl and matrix.json of the run")
    environment = os.environ | {COMMAND: command_of(context.args)}
    argv = [sys.executable, "-m", "clusterproof.pytest_process", *pytest_arguments(arguments)]
    if asked.json:
        raise typer.Exit(plan_as_json(argv, environment))
    if asked.repeat > 1:
        raise typer.Exit(repeat(argv, environment, asked.repeat, Path(asked.out)))
    os.execve(sys.executable, argv, environment)  # noqa: S606 - pytest takes this process's place


app.command(no_args_is_help=True)(new_issue)
app.command(context_settings=PASS_ON)(chaos)


def pytest_arguments(given: Sequence[str]) -> list[str]:
    """Return what pytest is called with where ``given`` follows ``qualify``.

    What is given comes last, so that it takes precedence. Scenarios may be named as results name them
    (``suites/upgrade/test_downgrade.py``), wherever the suites are installed; all run by default.
    """
    named = [argument for argument in given if _is_scenario(argument)]
    alone = {"--pdb", "--trace"} & set(given)
    return [
        *([str(SUITES.parent / argument) for argument in named] or [str(SUITES)]),
        f"--rootdir={SUITES.parent}",
        "--import-mode=importlib",
        # This process has imported the package to read its own options.
        *("-W", "ignore:Module already imported:pytest.PytestAssertRewriteWarning"),
        f"--override-ini=cache_dir={Path.cwd() / '.pytest_cache'}",
        # Two clusters of three members are what two processors carry; a debugger needs the terminal.
        *(("-n", "0") if alone else ("-n", "2", "--dist", "worksteal")),
        *_without_files(argument for argument in given if argument not in named),
    ]


def _without_files(given: Iterable[str]) -> Iterator[str]:
    """Yield ``given``; what follows an option and begins with @ is its value, and no file with more of them."""
    option = ""
    for argument in given:
        if option and argument.startswith("@"):
            yield f"{option}={argument}"
            option = ""
            continue
        if option:
            yield option
        option = argument if re.fullmatch(r"--[a-z-]+", argument) else ""
        if not option:
            yield argument
    if option:
        yield option


def _is_scenario(argument: str) -> bool:
    place = argument.partition("::")[0]
    return place.startswith(f"{SUITES.name}/") and (SUITES.parent / place).exists()


def _collect_verbs() -> None:
    """Take in the verbs of the lab and of the reports, and put all into their groups."""
    found = {}
    for command in (*app.registered_commands, *lab.registered_commands, *reports.registered_commands):
        name = command.name or getattr(command.callback, "__name__", "").replace("_", "-")
        found[name] = command
    app.registered_commands = []
    for group, verbs in GROUPS.items():
        for name, line in verbs.items():
            command = found.pop(name)
            command.name, command.short_help, command.rich_help_panel = name, line, group
            app.registered_commands.append(command)
    assert not found, f"verbs without a group: {', '.join(found)}"


_collect_verbs()


def main() -> None:
    """Run the command."""
    app(sys.argv[1:], prog_name="clusterproof")
