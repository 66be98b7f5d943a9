"""Issues by builds: the matrix, in memory and in a terminal."""
