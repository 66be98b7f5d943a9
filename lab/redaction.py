"""Secrets that must never reach a file: private keys, join tokens, trust passwords."""

from __future__ import annotations

import re

MARK = "[redacted]"

# What a secret looks like in LXD's and Incus's own output; group 1 is kept.
_PATTERNS = (
    re.compile(r"(-----BEGIN [A-Z ]*PRIVATE KEY-----).*?(?:(?=-----END)|\Z)", re.DOTALL),
    # Join and trust tokens are base64 of a JSON object, so they begin with {" in base64.
    re.compile(r"()\beyJ[A-Za-z0-9+/_-]{20,}={0,2}"),
    re.compile(
        r"""((?:["']?\b(?:secret|trust_token|trust_password|cluster_token|cluster_password|password)\b["']?|"""
        r"""core\.trust_password)\s*[:=]\s*["']?)(?!\[redacted\])[^\s"',}\\]{4,}""",
        re.IGNORECASE,
    ),
)


def redact(text: str) -> str:
    """Return ``text`` with every secret replaced by ``[redacted]``; applying it twice changes nothing."""
    for pattern in _PATTERNS:
        text = pattern.sub(rf"\g<1>{MARK}", text)
    return text
