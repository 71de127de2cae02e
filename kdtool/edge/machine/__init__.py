"""What this machine has, and what of it makes a command fail or a figure wrong."""
