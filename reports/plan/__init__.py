"""Which cells a run has: their order, their duration, their shards."""
