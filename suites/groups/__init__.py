"""Cluster groups."""
