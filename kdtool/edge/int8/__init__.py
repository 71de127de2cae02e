"""Files with 8-bit weights and activations: ranges, quantization, and what wins accuracy back."""
