"""The exit status of every verb, which means one thing everywhere: docs/exit-status.md."""

from __future__ import annotations

import errno
import os
import sys
import tempfile
import traceback
from enum import IntEnum
from pathlib import Path

# A disk, a quota or a device has no room, or fails: whoever named the place was not wrong.
_NO_ROOM = {
    errno.ENOSPC: "the disk is full; free some room",
    errno.EDQUOT: "the quota is used up; free some room",
    errno.EIO: "the disk fails",
    errno.EFBIG: "a limit of this process (ulimit -f) lets no file grow so large",
}
_HERE = Path(__file__).parent.parent


class ExitStatus(IntEnum):
    """What the exit status says. USAGE and FAULT are EX_USAGE and EX_SOFTWARE of sysexits.h."""

    AS_EXPECTED = 0
    STOPPED = 1
    INCOMPLETE = 2
    USAGE = 64
    FAULT = 70

    @property
    def meaning(self) -> str:
        """What it means, for the table in the docs."""
        return _MEANINGS[self]


_MEANINGS = {
    ExitStatus.AS_EXPECTED: "as expected: what was asked for was done, and no verdict stands against it",
    ExitStatus.STOPPED: "a verdict stops it: of the gate, of stability, of chaos, of prove",
    ExitStatus.INCOMPLETE: "blocked or incomplete: the lab failed, results are missing, nothing was judged, "
    "a disk is full, it was interrupted",
    ExitStatus.USAGE: "usage: an option, a name, a file or a folder that was given cannot be used",
    ExitStatus.FAULT: "a fault of clusterproof itself",
}


def status_of(error: BaseException) -> ExitStatus:
    """Return the status where something cannot be read or written: INCOMPLETE where there is no room for it.

    ``error`` is an OSError, SQLite's, or what was raised from such.
    """
    return ExitStatus.INCOMPLETE if _lacks_room(error) or _lacks_room(error.__cause__) else ExitStatus.USAGE


def _lacks_room(error: BaseException | None) -> bool:
    if isinstance(error, OSError):
        return error.errno in _NO_ROOM
    return getattr(error, "sqlite_errorname", "").startswith(("SQLITE_FULL", "SQLITE_IOERR"))


def in_words(error: OSError, way_out: str = "name another place") -> str:
    """Return on one line what cannot be used, why, and the way out."""
    why = error.strerror or str(error)
    advice = _NO_ROOM.get(error.errno or 0, way_out)
    if error.filename is None:
        return f"cannot write: {why}; {advice}"
    return f'cannot use "{os.fsdecode(error.filename)}": {why}; {advice}'


def fault(error: BaseException) -> str:
    """Return a fault of clusterproof itself in one line; its traceback goes to a file of this process."""
    log = Path(tempfile.gettempdir()) / f"clusterproof-{os.getuid()}-{os.getpid()}.txt"
    frames = traceback.extract_tb(error.__traceback__)
    ours = [one for one in frames if Path(one.filename).resolve().is_relative_to(_HERE)] or frames
    where = f" ({Path(ours[-1].filename).name}:{ours[-1].lineno})" if ours else ""
    said = " ".join(str(error).split())[:200]
    try:
        log.write_text("".join(traceback.format_exception(error)), encoding="utf-8")
    except OSError:
        kept = "its traceback could not be kept"
    else:
        kept = f"its traceback is in {log}"
    return f"clusterproof itself failed: {type(error).__name__}: {said}{where}; {kept}; please report it"


def in_one_line(error: BaseException) -> str:
    """Return what ends a run or a verb: something that cannot be read or written, or a fault."""
    return in_words(error) if isinstance(error, OSError) else fault(error)


def ended_by(error: Exception) -> ExitStatus:
    """Say in one line what ends this process, and return its status; of a reader that left nothing is said."""
    if isinstance(error, BrokenPipeError):
        # Whoever read the output has enough of it, and Python would complain once more at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitStatus.INCOMPLETE
    print(f"error: {in_one_line(error)}", file=sys.stderr, flush=True)
    return status_of(error) if isinstance(error, OSError) else ExitStatus.FAULT
