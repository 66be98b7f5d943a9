"""Events that members report."""
