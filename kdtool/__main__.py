"""Entry point of `kdtool` and `python -m kdtool`."""

import sys
from pathlib import Path

from kdtool.cli.shell.signals import watch_signals


def main() -> None:
    """Run the command line; Ctrl-C while it is imported is one message, as later on."""
    watch_signals()
    from kdtool.cli.app import main as run

    run()


if __name__ == "__main__":
    # `python -m` looks for modules in the working folder first; a file there that is named like a
    # library is not to replace it.
    if not sys.flags.safe_path and sys.path[0] in {"", str(Path.cwd())}:
        del sys.path[0]
    main()
