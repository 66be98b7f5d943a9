"""The daemon itself, whatever is done with it."""
