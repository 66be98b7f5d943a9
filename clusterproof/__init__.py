"""A conformance suite that reproduces documented LXD and Incus cluster bugs on real clusters."""

from pathlib import Path

PACKAGE = Path(__file__).parent
# In a checkout the package holds a link to the suites, and pytest knows them by their real path.
SUITES = (PACKAGE / "suites").resolve()
