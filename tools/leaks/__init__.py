"""Looks for secrets in all that a run has written."""
