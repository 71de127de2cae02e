"""The files of a study, and which one to ship."""
