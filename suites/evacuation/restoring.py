"""Restoring an evacuated member on which one instance may not be able to start."""

from clusterproof import Cluster, Member, refused


def evacuate(cluster: Cluster, member: Member, name: str) -> None:
    """Evacuate the only member, on which the instance ``name`` runs; it is stopped and stays there."""
    assert cluster.instance(name).status == "Running"
    cluster.evacuate(member)
    assert cluster.status_of(member) == "Evacuated"
    assert cluster.instance(name).status == "Stopped"


def restore(cluster: Cluster, member: Member, *modes: str) -> str:
    """Restore in each of ``modes`` until one succeeds; return the errors of the others."""
    errors = []
    for mode in modes:
        refusal = refused(cluster.restore, member, mode)
        if refusal is None:
            break
        errors.append(f"{mode or 'default'} mode: {refusal}")
    return "; ".join(errors)


def check_back_without(cluster: Cluster, member: Member, name: str) -> None:
    """One of the modes of restore brings the member back; the instance ``name`` stays stopped."""
    errors = restore(cluster, member, "", "skip")
    assert cluster.status_of(member) == "Online", errors
    assert cluster.instance(name).status == "Stopped"


def check_back_with(cluster: Cluster, member: Member, name: str) -> None:
    """The default mode of restore brings back the member and the instance ``name``."""
    errors = restore(cluster, member, "")
    assert cluster.status_of(member) == "Online", errors
    cluster.wait_running(name)
