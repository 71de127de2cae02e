"""Saliency of any model file: which pixels its answer depends on. Never torch."""
