"""What `kdtool verify` compares of the files that ship."""
