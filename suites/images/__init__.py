"""Images, and the members that hold them."""
