"""What results mean, judged and shown. Knows nothing of the lab."""
