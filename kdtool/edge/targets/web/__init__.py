"""A page that runs a classifier in a browser, with onnxruntime-web."""
