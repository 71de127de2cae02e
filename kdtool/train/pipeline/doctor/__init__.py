"""Whether a recipe can be trained on this machine, and what it will take."""
