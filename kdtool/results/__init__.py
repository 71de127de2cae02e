"""The frozen records of results.json."""
