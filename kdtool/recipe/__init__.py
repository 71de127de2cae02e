"""The recipe: strict frozen models, and reading them."""
