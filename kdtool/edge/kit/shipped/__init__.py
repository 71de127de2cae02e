"""What a kit holds besides the model: files that know nothing of kdtool."""
