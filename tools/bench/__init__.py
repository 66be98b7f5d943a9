"""Benchmarks: they print numbers and judge nothing."""
