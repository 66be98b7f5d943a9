"""Members joined together, and everything that is done to them or read from them."""
