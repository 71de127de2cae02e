"""What a study computes from the outputs of its models."""
