"""The folder of a study."""
