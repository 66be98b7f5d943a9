"""pytest's way into clusterproof in a checkout; an installed one has its entry point."""

pytest_plugins = ["clusterproof.fixtures.plugin"]
