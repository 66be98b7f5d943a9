"""Storage pools and their backends."""
