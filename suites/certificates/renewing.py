"""Renewing a cluster's certificate the way its documentation says, and what members serve."""

from clusterproof import PORT, Cluster, CommandError, Member, eventually, refused, renewed_certificate


def renew(member: Member, pair: tuple[str, str]) -> str:
    """Give the cluster another certificate and key through ``member``; return the product's error, if any."""
    certificate, key = pair
    member.write("/root/new.crt", certificate)
    member.write("/root/new.key", key, mode=0o600)
    command = ["cluster", "update-certificate", "/root/new.crt", "/root/new.key"]
    refusal = refused(member.client, *command, timeout=120)
    return str(refusal or "")


def made_anew(member: Member) -> tuple[str, str]:
    """Return the cluster's certificate made anew, and its key, as ``member`` has them."""
    certificate, key = (member.read(f"{member.facts.state_dir}/cluster.{kind}") for kind in ("crt", "key"))
    return renewed_certificate(certificate, key)


def take_offline(cluster: Cluster, member: Member) -> None:
    """Kill the daemon of ``member`` and wait until the cluster knows."""
    member.daemon.kill()
    eventually(lambda: cluster.statuses()[member.name], lambda status: status == "Offline", within=120)


def served(member: Member, port: int = PORT) -> str:
    """Return the certificate, in PEM, with which ``member`` answers at ``port``. Raises CommandError."""
    url = f"https://{member.address}:{port}/"
    asked = member.run(f"curl --silent --insecure --output /dev/null --write-out '%{{certs}}' {url}", check=True)
    begin, _, rest = asked.stdout.partition("-----BEGIN CERTIFICATE-----")
    if not rest:
        raise CommandError(f"{member.name}: no certificate at {url}: {begin!r}")
    return "".join(rest.partition("-----END")[0].split())


def body(certificate: str) -> str:
    """Return a certificate in PEM as ``served`` returns one: without its first and last line, joined."""
    return "".join(certificate.strip().splitlines()[1:-1])
