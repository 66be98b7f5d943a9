"""GitHub's own command line client, as the other programs here use it."""

from __future__ import annotations

import subprocess


class GhError(RuntimeError):
    """What ``gh`` could not do, in one line."""


def gh(*arguments: str, text: str | None = None) -> str:
    """Run ``gh``, with ``text`` on its standard input, and return what it prints. Raises GhError."""
    try:
        done = subprocess.run(["gh", *arguments], input=text, capture_output=True, text=True, check=False)
    except OSError as error:
        raise GhError(f"gh cannot be started: {error.strerror}") from error
    if done.returncode:
        says = " ".join(done.stderr.split()) or f"exit status {done.returncode}"
        raise GhError(f"gh {' '.join(arguments[:2])}: {says}")
    return done.stdout
