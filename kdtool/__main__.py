"""`python -m kdtool`, the same as `kdtool`."""

from kdtool.cli.app import main

main()
