"""Parameters and multiply-accumulates of an ONNX file, read off its graph."""
