"""What everything in the lab stands on: errors, waiting, transcripts, runs and the API client."""
