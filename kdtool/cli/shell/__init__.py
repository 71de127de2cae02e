"""What every command has from the shell: help, completion, words for wrong usage, signals."""
