"""What ``import clusterproof`` offers to scenarios, and what it costs."""

from __future__ import annotations

import subprocess
import sys

import pytest

import clusterproof


@pytest.mark.parametrize("name", clusterproof.__all__)
def test_every_name_is_found_and_has_the_same_name_where_it_lives(name):
    found = getattr(clusterproof, name)
    assert found == 8443 if name == "PORT" else found.__name__ == name


def test_another_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'clusterproof' has no attribute 'Clusters'"):
        clusterproof.Clusters  # noqa: B018


def test_importing_it_imports_nothing_else():
    ours = "[name for name in sys.modules if name.partition('.')[0] in ('clusterproof', 'pylxd', 'pytest')]"
    argv = [sys.executable, "-c", f"import sys, clusterproof; print({ours})"]
    done = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=30)
    assert done.stdout == "['clusterproof']\n"
