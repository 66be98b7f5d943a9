"""Progress output: a live table on a terminal, plain lines elsewhere."""

from __future__ import annotations

import threading
import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.live import Live
from rich.table import Table


class ProgressBoard:
    """One line for each subject that is being worked on; call it with the subject and what is being done."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console()
        self._rows: dict[str, tuple[str, float]] = {}
        self._began = time.monotonic()
        self._lock = threading.Lock()
        self._live = (
            Live(console=self._console, refresh_per_second=4, get_renderable=self._table)
            if self._console.is_terminal
            else None
        )

    def __enter__(self) -> Self:
        if self._live:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live:
            self._live.stop()

    def __call__(self, subject: str, doing: str) -> None:
        """Report what is being done to ``subject`` now."""
        with self._lock:
            seconds = time.monotonic() - self._began
            self._rows[subject] = (doing, seconds)
            if self._live is None:
                self._console.print(f"{seconds:6.1f} s  {subject:<22} {doing}", highlight=False, markup=False)

    def _table(self) -> Table:
        table = Table.grid(padding=(0, 2))
        with self._lock:
            for subject, (doing, seconds) in self._rows.items():
                table.add_row(subject, doing, f"{seconds:.1f} s")
        return table
