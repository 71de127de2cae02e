"""kdtool distils image classifiers for small devices, and proves that it helped."""

__version__ = "0.2.0"
