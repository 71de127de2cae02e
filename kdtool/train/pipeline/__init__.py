"""From a recipe to a finished study: what is trained in which order."""
