"""Sets that are larger than memory: decoded once into a file, of which batches read their rows."""
