"""Projects: what they keep apart, and what moves between them."""
