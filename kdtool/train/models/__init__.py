"""Networks, their weights, and what they answer."""
