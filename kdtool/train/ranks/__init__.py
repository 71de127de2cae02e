"""The processes of `torchrun` that train one model together; rank 0 leads, the others follow."""
