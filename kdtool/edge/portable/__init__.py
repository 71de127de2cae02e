"""The scripts of a kit: they need numpy, Pillow and onnxruntime, and import nothing of kdtool."""
