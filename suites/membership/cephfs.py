"""A join of a cluster whose pool "data" is CephFS, in which another project keeps a file."""

from clusterproof.fixtures import Cluster, Member
from clusterproof.suites.membership.joining import join, mounted, seed

# The file system of the fixture ``ceph``.
SOURCE = "lab"
FILE = "precious"
PROJECT, VOLUME = "accounts", "ledgers"


def fail_by_version(members: Cluster) -> Member:
    """The joiner has an API extension more than the cluster, which does not accept it."""
    first, joiner = members.members
    members.bootstrap(first)
    first.client("storage", "create", "data", "cephfs", f"source={SOURCE}", "--target", first.name, timeout=60)
    first.client("storage", "create", "data", "cephfs", timeout=60)
    first.client("project", "create", PROJECT)
    first.client("storage", "volume", "create", "data", VOLUME, "--project", PROJECT)
    first.run(["touch", stored(first)], check=True)
    joiner.daemon.set_environment(**{joiner.facts.bump_variable: "1"})
    joiner.daemon.start()
    joiner.daemon.wait_ready()
    assert not mounted(joiner)
    said = join(joiner, seed(joiner, SOURCE, cluster_token=members.token(joiner.name)))
    assert "version doesn't match" in said, said
    joiner.daemon.set_environment()
    return joiner


def stored(member: Member) -> str:
    """Where ``member`` has the other project's file."""
    return f"{member.facts.state_dir}/storage-pools/data/custom/{PROJECT}_{VOLUME}/{FILE}"


def check_data_kept(members: Cluster) -> None:
    """The other project's file is still there, as the member that was in the cluster before sees it."""
    first = members.members[0]
    found = first.run(["test", "-e", stored(first)])
    assert found.ok, f"removing the state folder emptied {stored(first)}"
