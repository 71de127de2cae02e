"""The scripts of a target's folder: they import their runtime, numpy and Pillow, never kdtool."""
