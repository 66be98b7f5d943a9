"""A request of which a member has the head and waits for the body.

What a daemon does before it reads a body, such as taking a lock, can be held for as long as a scenario needs.
curl asks with ``Expect: 100-continue`` whether the body is wanted, and Go's server says so when the handler
first reads it (net/http, expectContinueReader): from that answer on the request is known to be held.
"""

from __future__ import annotations

import itertools
import json
from typing import Protocol

from clusterproof.lab.builds.product import ProductFacts
from clusterproof.lab.core.waiting import eventually
from clusterproof.lab.substrates.machine import Result

HELD = 60.0
# Seconds after which curl would send the body unasked.
NEVER = 3600

_numbers = itertools.count(1)


class RunsCommands(Protocol):
    """What a held request needs of the member that it is sent to."""

    name: str

    @property
    def facts(self) -> ProductFacts:
        """What the product is: names of its commands, units, folders."""

    def run(
        self, command: str | list[str], *, stdin: str | bytes | None = None, check: bool = False
    ) -> Result:
        """Run a command as root; a string goes through the shell. Raises CommandError with ``check``."""


class HeldRequest:
    """A POST of ``body`` to ``path`` (below /1.0) on the unix socket of ``member``, begun when it is made.

    Raises CommandError where it cannot be begun.
    """

    def __init__(self, member: RunsCommands, path: str, body: object) -> None:
        self._member, self._path, self._body = member, path, json.dumps(body)
        self._folder = f"/run/held-request-{next(_numbers)}"
        unit = self._folder.rpartition("/")[2]
        curl = (
            f"curl --silent --verbose --unix-socket {member.facts.socket} --request POST --upload-file - "
            f"--header 'Content-Type: application/json' --header 'Expect: 100-continue' "
            f"--expect100-timeout {NEVER} http://daemon/1.0/{path}"
        )
        # cat opens the pipe only when somebody writes to it; curl has begun by then.
        line = f"cat body | {curl} > answer 2> log; touch ended"
        member.run(
            f"mkdir {self._folder} && cd {self._folder} && mkfifo body && "
            f'systemd-run --quiet --unit={unit} --working-directory={self._folder} sh -c "{line}"',
            check=True,
        )

    def wait_held(self, within: float = HELD) -> None:
        """Wait until the member waits for the body. Raises NotObservedError after ``within`` seconds."""
        eventually(
            lambda: self._member.run(f"grep -q '100 Continue' {self._folder}/log").ok,
            within=within,
            what=f"{self._member.name} waits for the body of POST /1.0/{self._path}",
        )

    def release(self) -> None:
        """Send the body. Raises CommandError."""
        self._member.run(f"cat > {self._folder}/body", stdin=self._body, check=True)

    def answer(self) -> str | None:
        """Return what the member has answered, nothing for a broken connection; None while it has not."""
        found = self._member.run(f"cd {self._folder} && test -e ended && cat answer")
        return found.stdout if found.ok else None
