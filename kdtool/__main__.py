"""`python -m kdtool`, the same as `kdtool`."""

from kdtool.cli import main

main()
