"""Upgrades and downgrades, member by member."""
