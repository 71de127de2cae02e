"""Whether a study is what its records say, as far as that shows without PyTorch and the images."""
