from collections.abc import Iterator

import pytest
from hypothesis import settings

from clusterproof.lab.core import known_secrets

# How long an example takes is said by the machine's load, not by the code.
settings.register_profile("any-laptop", deadline=None)
settings.load_profile("any-laptop")


@pytest.fixture(autouse=True)
def secrets_of_one_test() -> Iterator[None]:
    """Forget the secrets that a test has made: another one may use the same text for something else."""
    before = set(known_secrets._known)
    yield
    known_secrets._known.clear()
    known_secrets._known.update(before)
