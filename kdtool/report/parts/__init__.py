"""What several sections of the report are made of: cells, figures, tables."""
