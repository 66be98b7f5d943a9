"""The transcript: everything that is done to a cluster, as recorded steps."""

from __future__ import annotations

import json
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from clusterproof.lab.core.redaction import redact

Verb = Literal["run", "api", "read", "write", "fault", "wait", "lab", "check"]

# Characters that a step keeps of each text; whole logs are evidence, not transcript.
LIMIT = 16_000
# How many of the last answers are kept for a reason, and characters of each.
_RECENT, _SHORT = 3, 120
_TIME = ("at", "seconds", "times")


def shorten(text: str, limit: int = LIMIT) -> str:
    """Return ``text``, without its middle where it is longer than ``limit`` characters."""
    if len(text) <= limit:
        return text
    half = limit // 2
    return f"{text[:half]}\n[... {len(text) - 2 * half} characters left out ...]\n{text[-half:]}"


class Transcript:
    """What was done, in order: one JSON object per step, written when the step has ended.

    A step has ``at`` (UTC, ISO 8601), ``seconds``, ``verb``, ``target`` (a member, ``host`` or ``scenario``),
    ``what``, and whatever the verb adds (``rc``, ``stdout``, ``status``, ``error``...). Consecutive steps that
    differ only in time are merged into one with ``times``, as while waiting. Secrets are redacted before
    anything is written. Where the file cannot be written, ``lost`` says why, and no step is kept from then on.
    Safe to use from several threads.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.path = path
        self.lost = ""
        self._recent: deque[str] = deque(maxlen=_RECENT)
        self._last: dict[str, Any] | None = None
        self._lock = threading.Lock()

    @contextmanager
    def step(self, verb: Verb, target: str, what: str) -> Iterator[dict[str, Any]]:
        """Record the block as a step; the block adds its outcome to the yielded dict.

        An exception is recorded as ``error`` and raised again.
        """
        began = time.monotonic()
        at = datetime.now(UTC).isoformat(timespec="milliseconds")
        outcome: dict[str, Any] = {}
        try:
            yield outcome
        except BaseException as error:
            outcome.setdefault("error", f"{type(error).__name__}: {error}")
            raise
        finally:
            seconds = round(time.monotonic() - began, 3)
            self._add(
                {"at": at, "seconds": seconds, "verb": verb, "target": target, "what": what, **outcome}
            )

    def note(self, verb: Verb, target: str, what: str, **outcome: Any) -> None:  # noqa: ANN401
        """Record a step without a duration."""
        with self.step(verb, target, what) as step:
            step.update(outcome)

    def recent(self) -> list[str]:
        """Return what was asked of a product last and what it answered, in order and in short."""
        return list(self._recent)

    def flush(self) -> None:
        """Write the last step, which is held back because the next one may be merged with it."""
        with self._lock:
            self._write()

    def _add(self, step: dict[str, Any]) -> None:
        if self.path is None:
            return
        clean: dict[str, Any] = _clean(step)
        with self._lock:
            if clean["verb"] in ("run", "api") and (said := _outcome(clean)):
                self._recent.append(f"{clean['target']}: {clean['what'][:_SHORT]}: {said}")
            if self._last is not None and _without_time(self._last) == _without_time(clean):
                self._last["seconds"] = round(self._last["seconds"] + clean["seconds"], 3)
                self._last["times"] = self._last.get("times", 1) + 1
            else:
                self._write()
                self._last = clean

    def _write(self) -> None:
        if self._last is not None and self.path is not None and not self.lost:
            try:
                with self.path.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(self._last, ensure_ascii=False) + "\n")
            except OSError as error:
                # Raised here it would look like an error of what was being done to a product.
                self.lost = f"the transcript {self.path} cannot be written: {error.strerror}"
        self._last = None


def _outcome(step: dict[str, Any]) -> str:
    """Return the beginning of what a step brought, on one line; empty where that is nothing."""
    said = next((str(step[key]) for key in ("error", "answer", "stdout", "stderr") if step.get(key)), "")
    return " ".join(said.split())[:_SHORT]


def _clean(value: Any) -> Any:  # noqa: ANN401
    """Return ``value`` with every text redacted and then shortened: half a secret would not be recognized."""
    if isinstance(value, str):
        return shorten(redact(value))
    if isinstance(value, dict):
        return {key: _clean(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_clean(inner) for inner in value]
    return value


def _without_time(step: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in step.items() if key not in _TIME}
