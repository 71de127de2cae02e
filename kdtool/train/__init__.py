"""Training, export and saliency: the only place where torch is imported."""
