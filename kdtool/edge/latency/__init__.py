"""How long a model takes, so that the figure can be trusted."""
