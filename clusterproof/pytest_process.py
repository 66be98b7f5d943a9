"""The process of a run: pytest, with errors in one line and the exit statuses of every verb."""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence
from contextlib import redirect_stderr
from typing import TextIO

import pytest

from clusterproof.exit_status import ExitStatus, ended_by

# What pytest's own statuses mean; the others are the same or are set by the run itself.
STATUSES = {
    pytest.ExitCode.INTERNAL_ERROR: ExitStatus.FAULT,
    pytest.ExitCode.USAGE_ERROR: ExitStatus.USAGE,
    # Nothing that was asked for is there: -k, -m or a name is wrong.
    pytest.ExitCode.NO_TESTS_COLLECTED: ExitStatus.USAGE,
}
HELP = "clusterproof qualify --help and pytest --help list the options"


class _OneLine(io.TextIOBase):
    """Standard error, on which a wrong option is one line: pytest prints its usage and its settings with it."""

    def __init__(self, file: TextIO) -> None:
        self._file = file

    def write(self, text: str) -> int:
        """Write ``text``, of a usage error only what is wrong."""
        usage, wrong, rest = text.partition(": error: ")
        if wrong and "usage:" in usage:
            self._file.write(f"error: {rest.splitlines()[0]}; {HELP}")
            return len(text)
        return self._file.write(text)

    def flush(self) -> None:
        """Flush."""
        self._file.flush()

    def fileno(self) -> int:
        """Return the file's number, which pytest captures."""
        return self._file.fileno()

    def isatty(self) -> bool:
        """Say whether it is a terminal."""
        return self._file.isatty()

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """The encoding."""
        return self._file.encoding


def run(arguments: Sequence[str]) -> int:
    """Run pytest and return the exit status."""
    try:
        with redirect_stderr(_OneLine(sys.stderr)):
            code = int(pytest.main(list(arguments)))
        sys.stdout.flush()
    except KeyboardInterrupt:
        return ExitStatus.INCOMPLETE
    except Exception as error:  # noqa: BLE001 - whatever it is, a person gets one line
        return ended_by(error)
    return STATUSES.get(code, code)  # type: ignore[call-overload, no-any-return]


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
