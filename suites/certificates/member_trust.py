"""Whether one machine trusts the certificate of another machine's daemon, as members of a cluster must."""

import json

from clusterproof import PORT, Cluster, Member


def auth(member: Member, asked: Member) -> str:
    """Return what ``asked`` takes ``member`` for: "trusted" or "untrusted". Raises CommandError."""
    state = member.facts.state_dir
    answer = member.run(
        f"curl --silent --show-error --insecure --cert {state}/server.crt --key {state}/server.key "
        f"https://{asked.address}:{PORT}/1.0",
        check=True,
    )
    found: str = json.loads(answer.stdout)["metadata"]["auth"]
    return found


def server_certificate(cluster: Cluster, member: Member) -> dict[str, str]:
    """Return the entry of ``member`` in the cluster's list of trusted certificates."""
    found = cluster.client().get("certificates", recursion=1)
    entry: dict[str, str]
    (entry,) = [one for one in found if one["type"] == "server" and one["name"] == member.name]
    return entry
