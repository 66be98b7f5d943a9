"""The lab's own state on this computer: its folder, the runs that use it, and locks between them."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import secrets
import shutil
import socket
from datetime import UTC, datetime
from pathlib import Path

import platformdirs
from filelock import FileLock

from clusterproof.exit_status import ExitStatus, status_of
from clusterproof.lab.core.errors import LabError, UsageError


def folder() -> Path:
    """Return the lab's folder: ``LAB_DIR``, else /var/lib/clusterproof for root and the user's data folder."""
    if chosen := os.environ.get("LAB_DIR"):
        return Path(chosen).absolute()
    if os.geteuid() == 0:
        return Path("/var/lib/clusterproof")
    return platformdirs.user_data_path("clusterproof")


def owner() -> str:
    """Return an identity of this computer and folder that survives reboots: only their own runs are swept."""
    with contextlib.suppress(OSError):
        identity = Path("/etc/machine-id").read_text().strip()
        if identity:
            return f"{identity[:12]}:{folder()}"
    return f"{socket.gethostname()}:{folder()}"


def tag() -> str:
    """Return four hexadecimal digits that stand for ``owner`` where a name has no room for it."""
    return hashlib.sha256(owner().encode()).hexdigest()[:4]


def check_room(wanted: int) -> None:
    """Raise LabError where fewer than ``wanted`` bytes are free below the lab's folder."""
    if (free := shutil.disk_usage(folder()).free) < wanted:
        raise LabError(
            f"the disk below {folder()} is full: {free >> 20} MiB are free and {wanted >> 20} MiB are needed; "
            "free some, or name another folder with LAB_DIR"
        )


def lock(name: str) -> FileLock:
    """Return the lock called ``name``, which all processes that use the lab's folder share."""
    return FileLock(_made("locks") / f"{name}.lock")


def _made(name: str) -> Path:
    """Return a folder of the lab, made if need be. Raises LabError where it cannot be written."""
    place = folder() / name
    try:
        place.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        kind = LabError if status_of(error) is ExitStatus.INCOMPLETE else UsageError
        raise kind(
            f"the lab's folder {place} cannot be made: {error.strerror}; name another one with LAB_DIR"
        ) from error
    if not os.access(place, os.W_OK):
        raise UsageError(f"the lab's folder {place} cannot be written; be root, or name another with LAB_DIR")
    return place


class Run:
    """One use of the lab: everything that it makes carries ``id``.

    A run is alive while a process holds it, which ends with the process however that ends, or while it is kept
    for the user (``clusterproof up``).
    """

    def __init__(self, run_id: str) -> None:
        self.id = run_id
        self.folder = folder() / "runs" / run_id
        self._held: int | None = None

    @classmethod
    def new(cls) -> Run:
        """Return a run with a new id: the time (UTC) and four random hex digits."""
        return cls(f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(2)}")

    @classmethod
    def known(cls) -> list[Run]:
        """Return the runs in the lab's folder, oldest first."""
        place = folder() / "runs"
        return [cls(path.name) for path in sorted(place.iterdir())] if place.is_dir() else []

    def number(self) -> int:
        """Return a number that no other process of the run has, for names."""
        return os.getpid()

    @property
    def kept(self) -> bool:
        """Whether what the run made is to stay after its process has ended."""
        return (self.folder / "kept").exists()

    def keep(self, note: str = "") -> None:
        """Let what the run made stay after its process has ended; ``note`` says whose it is (``kept.keep``)."""
        (self.folder / "kept").write_text(note, encoding="utf-8")

    def kept_note(self) -> str:
        """Return what was noted of the run as it was kept. Raises OSError where it is not kept."""
        return (self.folder / "kept").read_text(encoding="utf-8")

    def hold(self) -> None:
        """Mark the run as in use by this process, until the process ends."""
        if self._held is not None:
            return
        # A sweep between making the folder and locking the file would take the run for dead.
        with lock("runs"):
            _made(f"runs/{self.id}").chmod(0o700)
            self._held = os.open(self._lock_path(os.getpid()), os.O_RDWR | os.O_CREAT, 0o600)
            fcntl.flock(self._held, fcntl.LOCK_EX)

    def alive(self) -> bool:
        """Say whether a process holds the run or it is kept."""
        return self.kept or any(_is_locked(path) for path in self.folder.glob("*.lock"))

    def holders(self) -> set[int]:
        """Return the ids of the processes that hold the run."""
        return {int(path.stem) for path in self.folder.glob("*.lock") if _is_locked(path)}

    def forget(self) -> None:
        """Remove the run's folder and release its addresses."""
        with lock("runs"):
            self._forget()

    def forget_if_dead(self) -> bool:
        """Forget the run unless it is alive; return whether it was forgotten."""
        with lock("runs"):
            if self.alive():
                return False
            self._forget()
            return True

    def _forget(self) -> None:
        for path in (folder() / "addresses").glob("*"):
            if _text(path) == self.id:
                path.unlink(missing_ok=True)
        shutil.rmtree(self.folder, ignore_errors=True)
        if self._held is not None:
            os.close(self._held)
            self._held = None

    def reserve(self, address: str) -> bool:
        """Reserve ``address`` for this run; False where another one has it."""
        place = _made("addresses")
        try:
            handle = os.open(place / address, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        except FileExistsError:
            return False
        except OSError as error:
            raise LabError(f"cannot reserve an address in {place}: {error.strerror}") from error
        with os.fdopen(handle, "w") as file:
            file.write(self.id)
        return True

    def release(self, address: str) -> None:
        """Release ``address``."""
        (folder() / "addresses" / address).unlink(missing_ok=True)

    def _lock_path(self, pid: int) -> Path:
        return self.folder / f"{pid}.lock"


def _is_locked(path: Path) -> bool:
    try:
        with path.open("r+") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except FileNotFoundError:
        return False
    return False


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
