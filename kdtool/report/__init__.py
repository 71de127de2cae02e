"""results.json -> report.html and report.md."""
