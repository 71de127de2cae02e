"""Targets: runtimes that get a file of their own, once it was verified there."""
