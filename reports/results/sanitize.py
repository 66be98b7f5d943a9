"""Text from logs and products, made fit for a terminal or a page."""

from __future__ import annotations

import re
import unicodedata

# Sequences that steer a terminal: colours and cursor (CSI), titles and links (OSC), and the short ones.
# A string that is never ended hides nothing: only its beginning is taken out.
_ESCAPES = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b[\]PX^_][^\x07\x1b\n]{0,1024}(?:\x07|\x1b\\)|\x1b[ -/]*[0-Z\\^-~]"
)
_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f]")
# These are shown as what they are, a disguise: without them text stands in another order or is hidden.
_DISGUISES = re.compile(
    "[\u00ad\u061c\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff]"
)


def one_line(text: str) -> str:
    """Return ``text`` on one line and without characters that steer a terminal.

    Control characters (escape sequences among them) and those that reorder text become a question
    mark: what a product printed must not rewrite what the report says of it.
    """
    return "".join(
        "?" if unicodedata.category(character) in ("Cc", "Cf", "Cs") else character
        for character in " ".join(text.split())
    )


def plain(text: str) -> str:
    """Return ``text``, which may have many lines, as a page may show it.

    Escape sequences and control characters are taken out; characters that hide or reorder text, and
    those that UTF-8 cannot carry, become the replacement character.
    """
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    return _DISGUISES.sub("\ufffd", _CONTROLS.sub("", _ESCAPES.sub("", text)))
