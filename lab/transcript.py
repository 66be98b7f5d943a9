"""The transcript: one recorded layer of verbs under everything that is done to a cluster."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from lab.redaction import redact

Verb = Literal["run", "api", "read", "write", "fault", "wait", "lab", "check"]

# What one step may keep of each text; the whole of a log is evidence, not transcript.
LIMIT = 16_000


def shorten(text: str, limit: int = LIMIT) -> str:
    """Return ``text``, its middle cut out where it is longer than ``limit`` characters."""
    if len(text) <= limit:
        return text
    half = limit // 2
    return f"{text[:half]}\n[... {len(text) - 2 * half} characters left out ...]\n{text[-half:]}"


class Transcript:
    """What was done, in order: one JSON object per step, written when the step ends.

    A step has ``at`` (UTC, ISO 8601), ``seconds``, ``verb``, ``target`` (a member, ``host`` or
    ``scenario``), ``what``, and whatever the verb adds (``rc``, ``stdout``, ``status``, ``error``...).
    Secrets are taken out before anything is written. Safe to use from several threads.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.path = path
        self.steps: list[dict[str, Any]] = []
        self._lock = threading.Lock()

    @contextmanager
    def step(self, verb: Verb, target: str, what: str) -> Iterator[dict[str, Any]]:
        """Record what happens inside; the block adds to the yielded dict what came of it.

        An exception is recorded as ``error`` and goes on.
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
            self._write(
                {
                    "at": at,
                    "seconds": round(time.monotonic() - began, 3),
                    "verb": verb,
                    "target": target,
                    "what": what,
                    **outcome,
                }
            )

    def note(self, verb: Verb, target: str, what: str, **outcome: Any) -> None:  # noqa: ANN401
        """Record something that has no duration."""
        with self.step(verb, target, what) as step:
            step.update(outcome)

    def _write(self, step: dict[str, Any]) -> None:
        clean = {key: redact(shorten(v)) if isinstance(v, str) else v for key, v in step.items()}
        with self._lock:
            self.steps.append(clean)
            if self.path is not None:
                with self.path.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(clean, ensure_ascii=False) + "\n")
