"""Targets of `kdtool export --for`: those of an ONNX file, and a place for those of the module."""
