"""A connection to a daemon's unix socket over which nothing is sent: a client that hangs, or waits."""

from __future__ import annotations

import itertools
import shlex
from collections.abc import Iterator
from contextlib import contextmanager

from clusterproof.lab.cluster.held_request import RunsCommands
from clusterproof.lab.core.waiting import eventually

CONNECTED = 60.0
# Perl's core is on every Debian and Ubuntu, curl cannot help sending something.
PERL = (
    "use Socket; my ($path, $done) = @ARGV; socket(my $s, AF_UNIX, SOCK_STREAM, 0) or die $!; "
    "connect($s, pack_sockaddr_un($path)) or die $!; open(my $f, '>', $done) or die $!; "
    "sysread($s, my $x, 1);"
)

_numbers = itertools.count(1)


@contextmanager
def idle_connection(member: RunsCommands) -> Iterator[None]:
    """Keep such a connection to the daemon of ``member`` open as long as the block lasts.

    Raises CommandError where it cannot be begun, NotObservedError where nobody accepts it.
    """
    unit = f"idle-connection-{next(_numbers)}"
    connect = shlex.join(["perl", "-e", PERL, member.facts.socket, f"/run/{unit}"])
    member.run(f"systemd-run --quiet --unit={unit} {connect}", check=True)
    eventually(
        lambda: member.run(f"test -e /run/{unit}").ok,
        within=CONNECTED,
        what=f"{member.name}: an idle connection to {member.facts.socket}",
    )
    try:
        yield
    finally:
        member.run(f"systemctl stop {unit}; rm -f /run/{unit}", check=True)
