"""Entry point of `kdtool` and `python -m kdtool`."""

import sys


def main() -> None:
    """Run the command line; Ctrl-C while it is imported is one message, as later on."""
    try:
        from kdtool.cli.app import main as run
    except KeyboardInterrupt:
        sys.stderr.write("error: interrupted; nothing is lost: run the same command again\n")
        raise SystemExit(130) from None
    run()


if __name__ == "__main__":
    main()
