"""Secrets that the lab made itself, recognized by value, also where only a part of one is left."""

from __future__ import annotations

import base64
import re
from itertools import pairwise

SHORTEST = 16  # characters of a secret that are of use

_LETTER = "[A-Za-z0-9+/_-]"
# How JSON and addresses write "/" and "+", and a line break, also where it is written as two characters.
_SLASH, _PLUS = r"(?:%2[Ff]|\\{1,8}(?:/|u002[Ff]))", r"(?:%2[Bb]|\\{1,8}u002[Bb])"
_BREAK = r"(?:(?:\r?\n|\\{1,8}[nr])[ \t]{0,40}){1,4}"
# The beginning and the possessive end keep this linear in the length of the text.
_RUN = re.compile(
    rf"(?<!{_LETTER})(?:{_SLASH}|{_PLUS}|{_BREAK}(?={_LETTER}|%2|\\)|{_LETTER}){{{SHORTEST},}}+"
)
_PIECE = re.compile(rf"(?P<slash>{_SLASH})|(?P<plus>{_PLUS})|(?P<break>{_BREAK})|{_LETTER}")
_READ = {"slash": "/", "plus": "+", "break": ""}

# Every SHORTEST characters in a row of every secret and of its base64.
_known: set[str] = set()


def register(secret: str) -> str:
    """Let redaction know ``secret``, which is hex, base64 or a PEM file, and return it.

    It is known to this process: whoever reads a secret that another process made registers it, too. From then on
    it is found however it is cut, broken into lines, escaped, or encoded in base64 once more.
    """
    value = "".join(line for line in secret.split("\n") if "-----" not in line)
    value = re.sub(rf"(?!{_LETTER}).", "", value, flags=re.DOTALL)
    # What stands before it decides how its bytes fall into the groups of three that base64 makes.
    encoded = [base64.b64encode(bytes(shift) + value.encode()).decode()[4:-4] for shift in range(3)]
    for form in (value, *encoded):
        _known.update(form[at : at + SHORTEST] for at in range(len(form) - SHORTEST + 1))
    return secret


def known() -> frozenset[str]:
    """Return all that is known: every ``SHORTEST`` characters in a row of each secret and of its base64."""
    return frozenset(_known)


def without_known(text: str, mark: str) -> str:
    """Return ``text`` with ``mark`` in place of every part of a registered secret."""
    return _RUN.sub(lambda run: _cleaned(run[0], mark), text) if _known else text


def _cleaned(run: str, mark: str) -> str:
    pieces = list(_PIECE.finditer(run))
    letters = [(_READ.get(piece.lastgroup or "", piece[0]), piece.span()) for piece in pieces]
    letters = [(letter, span) for letter, span in letters if letter]
    read = "".join(letter for letter, _ in letters)
    hits = [at for at in range(len(read) - SHORTEST + 1) if read[at : at + SHORTEST] in _known]
    if not hits:
        return run
    spans: list[tuple[int, int]] = []
    for at in hits:
        begin, end = letters[at][1][0], letters[at + SHORTEST - 1][1][1]
        if spans and begin <= spans[-1][1]:
            spans[-1] = (spans[-1][0], end)
        else:
            spans.append((begin, end))
    kept = pairwise([0, *(place for span in spans for place in span), len(run)])
    return mark.join(run[begin:end] for number, (begin, end) in enumerate(kept) if number % 2 == 0)
