"""A snap store and an image server for trying what asks them without a network."""
