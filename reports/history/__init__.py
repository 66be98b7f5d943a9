"""The results of all runs, and how stable they are."""
