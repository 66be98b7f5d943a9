"""The command ``clusterproof``: the verbs of the lab and of the reports, and ``qualify``."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

import typer

from clusterproof import SUITES
from clusterproof.fixtures.options import help_text
from clusterproof.lab.commands import app as lab
from clusterproof.reports.commands import app as reports

app = typer.Typer(
    help="What LXD and Incus clusters really do, build by build.", no_args_is_help=True, add_completion=False
)
# What stands in help together, in this order.
GROUPS = {
    "Judge builds": ("qualify", "matrix", "gate", "diff", "site"),
    "Use the lab": ("doctor", "builds", "bake", "up", "shell", "down", "sweep", "clear"),
}
REST = "Keep results"
TO_PYTEST = {"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": []}


@app.command(context_settings=TO_PYTEST)
def qualify(context: typer.Context) -> None:
    """Run scenarios on clusters of builds and judge them; --help lists the options."""
    if {"-h", "--help"} & set(context.args):
        typer.echo(help_text(), nl=False)
        return
    argv = [sys.executable, "-m", "pytest", *pytest_arguments(context.args)]
    os.execv(sys.executable, argv)  # noqa: S606 - pytest takes this process's place


def pytest_arguments(given: Sequence[str]) -> list[str]:
    """Return what pytest is called with where ``given`` follows ``qualify``.

    What is given comes last, so that it takes precedence. Scenarios may be named as results name them
    (``suites/upgrade/test_downgrade.py``), wherever the suites are installed; all run by default.
    """
    named = [argument for argument in given if _is_scenario(argument)]
    return [
        *([str(SUITES.parent / argument) for argument in named] or [str(SUITES)]),
        f"--rootdir={SUITES.parent}",
        "--import-mode=importlib",
        f"--override-ini=cache_dir={Path.cwd() / '.pytest_cache'}",
        # Two clusters of three members are what two processors carry.
        *("-n", "2", "--dist", "worksteal"),
        *(argument for argument in given if argument not in named),
    ]


def _is_scenario(argument: str) -> bool:
    place = argument.partition("::")[0]
    return place.startswith(f"{SUITES.name}/") and (SUITES.parent / place).exists()


def _grouped() -> None:
    """Take in the verbs of the lab and of the reports, and put all into their groups."""
    app.registered_commands += [*lab.registered_commands, *reports.registered_commands]
    group_of = {verb: group for group, verbs in GROUPS.items() for verb in verbs}
    order = [verb for verbs in GROUPS.values() for verb in verbs]
    for command in app.registered_commands:
        command.name = command.name or getattr(command.callback, "__name__", "").replace("_", "-")
        command.rich_help_panel = group_of.get(command.name, REST)
    known = {command.name: command for command in app.registered_commands}
    app.registered_commands = [
        *(known.pop(verb) for verb in order if verb in known), *known.values()
    ]


_grouped()


def main() -> None:
    """Run the command."""
    app(sys.argv[1:], prog_name="clusterproof")
