"""What `kdtool verify` computes again, by the functions of a study."""
