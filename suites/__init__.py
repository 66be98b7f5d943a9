"""Scenarios by area of the product, each with its ledger entry beside it."""
