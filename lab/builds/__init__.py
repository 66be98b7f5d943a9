"""Which builds there are, and where each is installed from."""
