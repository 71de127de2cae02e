"""Sets that are published: read from a folder, or downloaded into the user's cache."""
