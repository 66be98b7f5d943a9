"""Daemons that wait for the majority of the database."""
