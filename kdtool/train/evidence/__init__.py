"""What tells a real gain from noise, and how the models of a study differ."""
