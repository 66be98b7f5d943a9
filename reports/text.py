"""Text from logs and products, made fit for a terminal."""

from __future__ import annotations

import unicodedata


def one_line(text: str) -> str:
    """Return ``text`` on one line and without characters that steer a terminal.

    Control characters (escape sequences among them) and those that reorder text become a question
    mark: what a product printed must not rewrite what the report says of it.
    """
    return "".join(
        "?" if unicodedata.category(character) in ("Cc", "Cf", "Cs") else character
        for character in " ".join(text.split())
    )
