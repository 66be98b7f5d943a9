"""The lab's errors, none of which is a statement about the product under test."""

from __future__ import annotations


class LabError(Exception):
    """The lab failed, so that the product was not judged; ``str()`` is one line with the way out."""


class UsageError(LabError):
    """An option, name or data file that the user gave is invalid."""
