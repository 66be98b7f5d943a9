"""Loop devices of files below a folder: those of the private server's pool."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

BLOCKS = Path("/sys/block")


def below(folder: Path) -> Iterator[str]:
    """Yield the loop devices whose file is below ``folder``, by path."""
    for file in BLOCKS.glob("loop*/loop/backing_file"):
        # One may be detached at this moment.
        with contextlib.suppress(OSError):
            if file.read_text().startswith(f"{folder}/"):
                yield f"/dev/{file.parts[-3]}"


def detach(device: str) -> None:
    """Detach ``device``; the kernel does so once nothing has it mounted any more."""
    subprocess.run(["losetup", "--detach", device], capture_output=True, check=False, timeout=30)
