"""The names of what the lab makes on its host: a project, and a storage pool and a bridge that it alone uses."""

PROJECT = "clusterproof"
POOL = "clusterproof"
NETWORK = "clusterproof0"
# The configuration key that marks them as the lab's; it also begins the keys of a run's id and owner.
MARK = "user.clusterproof"
