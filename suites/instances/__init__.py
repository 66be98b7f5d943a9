"""Instances: where they are placed, and what is kept of them."""
