"""pytest's way into clusterproof: the plugins are in fixtures/."""

pytest_plugins = [
    "fixtures.options",
    "fixtures.identity",
    "fixtures.selection",
    "fixtures.substrates",
    "fixtures.cells",
    "fixtures.faults",
    "fixtures.soak",
    "fixtures.clusters",
    "fixtures.ceph",
    "fixtures.own",
    "fixtures.plan",
    "fixtures.session",
]
