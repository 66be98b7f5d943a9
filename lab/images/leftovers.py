"""Removing what an attempt to make an image has left, without descending into what is mounted inside."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path

from filelock import FileLock, Timeout

from clusterproof.lab.core.errors import LabError


def clear_leftovers(into: Path, own: str = "") -> None:
    """Remove what killed attempts have left in ``into``, unless a live one holds its lock.

    ``own`` is the digest whose lock the caller holds. Raises LabError where something is mounted
    inside that cannot be unmounted.
    """
    for partial in sorted(into.glob("*.partial")):
        identity = partial.name.partition(".")[0]
        if identity == own:
            remove_tree(partial)
            continue
        try:
            with FileLock(into / f"{identity}.lock", timeout=0):
                remove_tree(partial)
        except Timeout:
            continue


def remove_tree(folder: Path) -> None:
    """Remove ``folder`` without ever descending into what is mounted inside.

    What is mounted there is unmounted first, and what is gone already is no error. Raises LabError, and removes
    nothing, where that fails.
    """
    for _ in range(8):
        inside = mounts_below(folder)
        if not inside:
            break
        # Otherwise unmounting a shared mount would also unmount what it was bound from.
        for mount in inside:
            subprocess.run(["mount", "--make-private", mount], capture_output=True, check=False)
        for mount in reversed(inside):
            subprocess.run(["umount", "--lazy", "--", mount], capture_output=True, check=False)
    if inside := mounts_below(folder):
        raise LabError(
            f"{inside[-1]} is mounted inside the leftover {folder} and cannot be unmounted; "
            f"unmount it (umount {shlex.quote(inside[-1])}) and try again"
        )
    done = subprocess.run(
        ["rm", "-r", "-f", "--one-file-system", "--", str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        reason = (done.stderr.strip().splitlines() or ["rm printed no reason"])[-1]
        raise LabError(f"cannot remove the leftover {folder}: {reason}")


def mounts_below(folder: Path, mountinfo: Path = Path("/proc/self/mountinfo")) -> list[str]:
    """Return the mount points at or below ``folder``, in the order in which they were mounted."""
    top = str(folder.resolve())
    points = []
    for line in mountinfo.read_text("utf-8", errors="surrogateescape").splitlines():
        escaped = line.split(" ")[4]
        point = re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), escaped)
        if point == top or point.startswith(f"{top}/"):
            points.append(point)
    return points
