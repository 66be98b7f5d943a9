"""Networks: how they are created in a cluster."""
