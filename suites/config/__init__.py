"""Configuration of members and clusters: addresses, names, limits."""
