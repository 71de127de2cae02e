"""Files for other runtimes than ONNX Runtime, each checked in its own runtime."""
