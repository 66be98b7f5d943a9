"""Benchmarks and generators that no user needs."""
