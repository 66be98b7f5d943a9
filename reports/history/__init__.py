"""The results of all runs, and how steady they are."""
