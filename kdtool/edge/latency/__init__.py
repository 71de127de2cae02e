"""Latency of models, with intervals and with warnings about a noisy machine."""
