"""The command ``clusterproof``: the verbs of the lab and of the reports, and ``qualify``."""

from __future__ import annotations

import sys
from typing import Annotated

import pytest
import typer

from clusterproof import SUITES
from clusterproof.lab.commands import app as lab
from clusterproof.reports.commands import app as reports

app = typer.Typer(
    help="What LXD and Incus clusters really do, build by build.", no_args_is_help=True, add_completion=False
)
# Two workers suit two processors, and what follows on the command line takes precedence.
WORKERS = ("-n", "2", "--dist", "worksteal")
AS_IS = {"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": ["--options"]}


@app.command(context_settings=AS_IS)
def qualify(
    arguments: Annotated[list[str] | None, typer.Argument(metavar="[PYTEST ARGUMENTS]...")] = None,
) -> None:
    """Run scenarios on clusters of builds and judge them; --help lists what can be chosen."""
    raise typer.Exit(int(pytest.main(pytest_arguments(arguments or []))))


def pytest_arguments(given: list[str]) -> list[str]:
    """Return what pytest is called with where ``given`` follows ``qualify``."""
    return [
        str(SUITES),
        f"--rootdir={SUITES.parent}",
        "--import-mode=importlib",
        "-p",
        "clusterproof.fixtures.plugin",
        *WORKERS,
        *given,
    ]


app.registered_commands += [*lab.registered_commands, *reports.registered_commands]


def main() -> None:
    """Run the command."""
    app(sys.argv[1:], prog_name="clusterproof")
