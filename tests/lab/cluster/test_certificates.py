"""The run's client certificate: made once, and always a pair."""

from __future__ import annotations

import multiprocessing
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from clusterproof.lab.cluster.certificates import (
    cluster_certificate,
    make_certificate,
    renewed_certificate,
)
from clusterproof.lab.core.redaction import redact

ROUNDS = 25


def content(pair: tuple[Path, Path]) -> tuple[bytes, bytes]:
    cert, key = pair
    return cert.read_bytes(), key.read_bytes()


def is_pair(cert: bytes, key: bytes) -> bool:
    return load_pem_private_key(key, None).public_key() == x509.load_pem_x509_certificate(cert).public_key()


def make_together(barrier, folders, results):
    """Make each certificate at the moment when the other process makes it, too."""
    for folder in folders:
        barrier.wait(60)
        results.put((folder, content(make_certificate(folder))))


def test_a_pair_that_is_there_is_kept(tmp_path):
    pair = make_certificate(tmp_path)
    before = content(pair)
    assert is_pair(*before)
    assert make_certificate(tmp_path) == pair
    assert content(pair) == before
    assert pair[1].stat().st_mode & 0o077 == 0
    assert set(tmp_path.iterdir()) == set(pair)


def test_half_a_pair_is_replaced(tmp_path):
    for half in make_certificate(tmp_path):
        half.unlink()
        assert is_pair(*content(make_certificate(tmp_path)))


def test_two_processes_that_begin_at_once_have_the_same_pair(tmp_path):
    folders = [tmp_path / str(number) for number in range(ROUNDS)]
    for folder in folders:
        folder.mkdir()
    context = multiprocessing.get_context("spawn")
    barrier, results = context.Barrier(2), context.Queue()
    workers = [context.Process(target=make_together, args=(barrier, folders, results)) for _ in range(2)]
    for worker in workers:
        worker.start()
    seen = [results.get(timeout=60) for _ in range(2 * ROUNDS)]
    for worker in workers:
        worker.join(60)
    assert sorted({folder for folder, _ in seen}) == sorted(folders)
    for folder, used in seen:
        assert is_pair(*used)
        assert used == content(make_certificate(folder))


def test_a_cluster_certificate_is_the_members_and_lasts_as_long_as_asked():
    cert, key = cluster_certificate("m1", "192.0.2.1", lasts=timedelta(hours=1))
    assert is_pair(cert.encode(), key.encode())
    read = x509.load_pem_x509_certificate(cert.encode())
    names = read.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["m1"]
    assert [str(address) for address in names.get_values_for_type(x509.IPAddress)] == ["192.0.2.1"]
    now = datetime.now(UTC)
    assert now + timedelta(minutes=55) < read.not_valid_after_utc <= now + timedelta(hours=1)


def test_a_cluster_certificate_may_have_expired():
    cert, _ = cluster_certificate("m1", "192.0.2.1", lasts=timedelta(minutes=-1))
    read = x509.load_pem_x509_certificate(cert.encode())
    assert read.not_valid_before_utc < read.not_valid_after_utc < datetime.now(UTC)


def test_a_certificate_is_renewed_for_its_key_and_names():
    old, key = cluster_certificate("m1", "192.0.2.1")
    new, same = renewed_certificate(old.encode(), key.encode())
    assert same == key
    assert is_pair(new.encode(), key.encode())
    before, after = (x509.load_pem_x509_certificate(one.encode()) for one in (old, new))
    assert before.not_valid_before_utc < after.not_valid_before_utc < datetime.now(UTC)
    assert after.not_valid_after_utc > datetime.now(UTC)
    assert before.subject == after.subject == after.issuer
    names = [one.extensions.get_extension_for_class(x509.SubjectAlternativeName) for one in (before, after)]
    assert names[0] == names[1]


def test_the_key_of_a_cluster_certificate_is_a_secret():
    _, key = cluster_certificate("m1", "192.0.2.1")
    line = key.splitlines()[1]
    assert line not in redact(f"written: {line}")
