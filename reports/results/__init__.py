"""What a run recorded, the ledger it is judged by, and the verdict that follows."""
