"""A kit: a folder that runs a model on a device without kdtool."""
