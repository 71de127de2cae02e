"""A folder that runs a model where no kdtool is."""
