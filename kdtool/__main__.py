"""Entry point of `kdtool` and `python -m kdtool`."""

from kdtool.cli.signals import watch_signals


def main() -> None:
    """Run the command line; Ctrl-C while it is imported is one message, as later on."""
    watch_signals()
    from kdtool.cli.app import main as run

    run()


if __name__ == "__main__":
    main()
