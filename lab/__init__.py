"""The lab: where throwaway clusters of real builds come from. Knows nothing of pytest."""
