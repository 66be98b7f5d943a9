"""Certificates of clusters and members: renewing them, and whom they make trusted."""
