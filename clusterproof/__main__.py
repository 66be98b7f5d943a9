"""``python -m clusterproof``, which says what to do first where the packages that it needs are not installed."""

import sys

FIRST = (
    "make its environment first: sudo lab/bootstrap, then tox run -e qualify -- --plan; "
    "the command is there after . .tox/qualify/bin/activate"
)

try:
    from clusterproof.cli import main
except ModuleNotFoundError as error:
    if error.name is None or error.name.partition(".")[0] == "clusterproof":
        raise
    print(f"error: the package {error.name} is not installed here; {FIRST}", file=sys.stderr)
    sys.exit(64)

main()
