"""What a run wrote down, the ledger it is judged by, and the verdict that follows."""
