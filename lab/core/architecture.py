"""The architecture of this computer."""

from __future__ import annotations

import platform

# Debian's names of those that the kernel calls otherwise.
_NAMES = {"x86_64": "amd64", "aarch64": "arm64"}


def debian_architecture() -> str:
    """Return the architecture as Debian, the snap store and image servers call it."""
    name = platform.machine()
    return _NAMES.get(name, name)
