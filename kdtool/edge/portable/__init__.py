"""What a kit holds: needs numpy, Pillow and a runtime, and imports nothing of kdtool."""
