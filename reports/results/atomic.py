"""Files that a reader, or a crash, sees as they were or as they are to be, never half of them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO


@contextmanager
def whole(path: Path) -> Iterator[TextIO]:
    """Give a file to write the new text of ``path`` into, which becomes ``path`` at the end.

    Where anything goes wrong before, ``path`` stays as it is. Raises OSError, which names ``path``.
    """
    # Short, as the name of the file may be as long as a name can be.
    unfinished = path.with_name(f".{os.getpid()}.new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with unfinished.open("w", encoding="utf-8", newline="\n") as file:
            yield file
        unfinished.replace(path)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        with suppress(OSError):
            unfinished.unlink(missing_ok=True)


def put(path: Path, text: str) -> None:
    """Write ``text`` to ``path``, making its folder where there is none. Raises OSError."""
    with whole(path) as file:
        file.write(text)
