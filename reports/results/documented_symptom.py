"""Where in the logs that were kept of a cell the documented symptom can be read."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

from clusterproof.reports.results.kept_evidence import walk
from clusterproof.reports.results.ledger import Symptom
from clusterproof.reports.results.sanitize import plain

_FOUND = 5  # logs that are named
_SEARCHED = 4 * 1024 * 1024  # bytes of a log, its end, that are searched
_LINE = 1_000  # characters of a line


class Found(NamedTuple):
    """A line of a log that shows the documented symptom; ``number`` counts from 1, None if not known."""

    name: str
    link: str
    number: int | None
    line: str


def documented_lines(folder: Path, symptom: Symptom) -> list[Found]:
    """Return where ``symptom`` can be read in the logs that were kept in ``folder``, at most a few.

    A check may end in another way before the symptom is looked for, which then stands in the logs all the
    same. Raises OSError where a log cannot be read.
    """
    patterns = [re.compile(one.regex, re.MULTILINE) for one in symptom.patterns if one.where == "log"]
    found = []
    for path, size in sorted(walk(folder)):
        if path.suffix != ".log" or not patterns:
            continue
        with path.open("rb") as file:
            file.seek(max(0, size - _SEARCHED))
            text = file.read(_SEARCHED).decode(errors="replace")
        if match := next(filter(None, (one.search(text) for one in patterns)), None):
            # Of a larger file only the end was read, so that a line's number would be wrong.
            number = text.count("\n", 0, match.start()) + 1 if size <= _SEARCHED else None
            line = plain(text[text.rfind("\n", 0, match.start()) + 1 :].partition("\n")[0])
            relative = path.relative_to(folder)
            found.append(Found(plain(str(relative)), quote(os.fsencode(relative)), number, line[:_LINE]))
    return found[:_FOUND]
