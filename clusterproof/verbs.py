"""How every verb ends: in one line where it cannot do what it was asked to, and with an exit status."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

import typer
from typer.core import TyperGroup

from clusterproof.exit_status import ExitStatus, ended_by
from clusterproof.fixtures.options import EMPTY

# What all errors of usage are; typer exports only one kind of them.
_ClickError = typer.BadParameter.__mro__[2]
_EMPTY = re.compile(r"(--[A-Za-z-]+)=\s*")


class Verbs(TyperGroup):
    """The command with its verbs.

    Not as typer has it: an empty argument is refused, since an unset variable is no name; usage errors are one
    line and exit with USAGE; a place that cannot be written is one line; and so is a fault of this program.
    """

    def main(  # type: ignore[override]
        self, args: Sequence[str] | None = None, prog_name: str | None = None, **more: Any  # noqa: ANN401, ARG002
    ) -> NoReturn:
        """Run a verb and exit with its status."""
        given = list(sys.argv[1:] if args is None else args)
        more["standalone_mode"] = False
        if problem := empty_argument(given):
            _refuse(problem, ExitStatus.USAGE)
        try:
            status = super().main(given, "clusterproof", **more)
            sys.stdout.flush()
        except typer.Abort:
            _refuse("nothing was done", ExitStatus.INCOMPLETE)
        except Exception as error:  # noqa: BLE001 - whatever it is, a person gets one line
            if isinstance(error, _ClickError):
                _refuse(_said(error), ExitStatus.USAGE)
            sys.exit(ended_by(error))
        except SystemExit:
            # typer's own, for a pipe that nobody reads any more.
            sys.exit(ExitStatus.INCOMPLETE)
        # 130 is typer's for ctrl-C.
        sys.exit(ExitStatus.INCOMPLETE if status == 130 else status or 0)  # noqa: PLR2004


def empty_argument(given: Sequence[str]) -> str | None:
    """Return what is wrong where an argument before ``--`` is empty, else None."""
    before = ""
    for argument in given:
        if argument == "--":
            return None
        if not argument.strip():
            option = f" after {before}" if before.startswith("-") else ""
            return f"an argument{option} {EMPTY}"
        if found := _EMPTY.fullmatch(argument):
            return f"{found[1]} {EMPTY}"
        before = argument
    return None


def _said(error: Any) -> str:  # noqa: ANN401 - typer's own
    message = " ".join(error.format_message().split())
    context = getattr(error, "ctx", None)
    help_with = f"; {context.command_path} --help lists what there is" if context else ""
    return f"{message.removesuffix('.')}{help_with}"


def _refuse(line: str, status: ExitStatus) -> None:
    """Print ``line`` as an error and exit with ``status``."""
    try:
        print(f"error: {line}", file=sys.stderr, flush=True)
    finally:
        sys.exit(status)
