"""Metrics, intervals, tests and power; pure functions of arrays."""
