"""What restricted clients may do, and what they may not."""
