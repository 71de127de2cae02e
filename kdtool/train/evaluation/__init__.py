"""What a study computes from the answers of its models."""
