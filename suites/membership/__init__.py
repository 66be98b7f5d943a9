"""Joining, and what a failed join leaves behind."""
