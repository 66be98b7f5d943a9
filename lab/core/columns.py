"""Rows of texts in columns: nothing is cut off or wrapped, and nothing is padded at the end."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.text import Text


def columns(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the rows as lines in which the texts of a column begin below each other."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]


def show(console: Console, lines: Iterable[str], styles: Iterable[tuple[str, str]] = ()) -> None:
    """Print ``lines``; what a line begins with may have a style, where the output has colours."""
    styles = list(styles)
    for line in lines:
        text = Text(line)
        for start, style in styles:
            if line.startswith(start):
                text.stylize(style, 0, len(start))
        console.print(text, soft_wrap=True, highlight=False)
