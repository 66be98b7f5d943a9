"""The server that carries the lab, and what members on it can do."""
