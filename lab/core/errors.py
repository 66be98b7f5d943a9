"""The errors of the lab: none of them says anything about the product under test."""

from __future__ import annotations


class LabError(Exception):
    """The lab misbehaved and the product was not judged; ``str()`` is one line with the way out."""


class UsageError(LabError):
    """What the user gave cannot be used: an option, a name, or a data file."""
