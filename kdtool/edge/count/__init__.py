"""Count parameters and multiply-accumulates (MACs) of an ONNX file from its graph."""
