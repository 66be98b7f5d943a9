"""Evacuating and restoring members."""
