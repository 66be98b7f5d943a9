"""Secrets that must never reach a file: private keys, join tokens, trust passwords, Ceph's keys."""

from __future__ import annotations

import re
import string

MARK = "[redacted]"

# Anchored to the beginning of a word: "any word characters" here would take quadratic time in long words.
_KEY = (
    r"(?<![A-Za-z])(?:secret(?:[-_]key)?|(?:trust_|cluster_)?password|(?:trust|cluster)_token)(?![\w-])"
)

# Secrets as LXD and Incus print them; the group "kept" is kept.
_PATTERNS = (
    re.compile(
        r"(?P<kept>-----BEGIN [A-Z ]*PRIVATE KEY-----)(?!\[redacted\]).*?(?:(?=-----END)|\Z)", re.DOTALL
    ),
    # Join and trust tokens are base64 of a JSON object, so they begin with {" in base64.
    re.compile(r"(?P<kept>)eyJ[A-Za-z0-9+/_-]{20,}={0,2}"),
    # Ceph's keys are base64 of a type (1 or 2, 16 bits), a time and 16 or 32 bytes. They do not begin in the
    # middle of other base64, but may follow a line break that is written as two characters.
    re.compile(
        r"(?P<kept>(?<![A-Za-z0-9+/])|(?<=\\[nrt]))"
        r"A[Qg][A-D](?:\\?[A-Za-z0-9+/]){35,60}(?:={1,2}|(?:%3[Dd]){1,2}|(?:\\u003[Dd]){1,2})"
    ),
    # A truncated one.
    re.compile(r"""(?P<kept>(?<![A-Za-z])key["']?\s{0,8}[=:]\s{0,8}["']?)A[Qg][A-D][A-Za-z0-9+/]{8,}={0,2}"""),
    # With any kind of quotes: "secret": "x", \\"secret\\":\\"x\\", 'core.trust_password','x'.
    re.compile(
        rf"""(?P<kept>{_KEY}\\?["']?\s*[:=,]\s*(?P<quote>\\?["']))(?!\[redacted\])"""
        r"""(?:(?!(?P=quote))(?:\\.|.))+""",
        re.IGNORECASE,
    ),
    re.compile(
        rf"""(?P<kept>{_KEY}\\?["']?\s*[:=]\s*)(?!\[redacted\])[^\s"',;{{}}\[\]\\]{{4,}}""",
        re.IGNORECASE,
    ),
    re.compile(r"(?P<kept>core\.trust_password\s+)(?!\[redacted\])[^\s\"',:=]+"),
)


# The characters of a private key, also where its line breaks are written as \\n.
_BODY = f"{string.ascii_letters}{string.digits}+/=\\ \t\r\n"
_SHORTEST = 16  # characters; fewer are of no use
_END = re.compile(r"-----END [A-Z ]*PRIVATE KEY-----")


def redact(text: str) -> str:
    """Return ``text`` with every secret replaced by ``[redacted]``; applying it twice changes nothing."""
    for pattern in _PATTERNS:
        text = pattern.sub(rf"\g<kept>{MARK}", text)
    return _without_beginning(text)


def _without_beginning(text: str) -> str:
    """Replace the rest of keys whose beginning was cut off, as in the last lines of a log."""
    parts, at = [], 0
    for end in _END.finditer(text):
        before = text[at : end.start()]
        kept = before.rstrip(_BODY)
        parts.append(before if len(before) - len(kept) < _SHORTEST else f"{kept}{MARK}")
        at = end.start()
    return "".join([*parts, text[at:]])
