"""The sections of the report, each with its figures and sentences."""
