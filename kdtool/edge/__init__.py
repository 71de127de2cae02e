"""What runs on the device: numpy, onnx and onnxruntime, never torch."""
