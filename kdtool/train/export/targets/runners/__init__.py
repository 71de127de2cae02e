"""Runners that need PyTorch; copied into a target, they import nothing of kdtool."""
