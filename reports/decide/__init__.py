"""What follows from a matrix: the gate, the difference of two builds, qualification."""
