"""What the student saves and what it costs: models, files, machines."""
