"""From observations to verdicts, results, history, matrix and gate. Knows nothing of the lab."""
