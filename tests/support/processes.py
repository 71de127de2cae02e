"""The processes of a command that was started in a session of its own."""

import subprocess


def in_group(number):
    """Return the processes of a group that are not over."""
    listed = subprocess.run(
        ["ps", "-eo", "pgid=,stat=,pid="], capture_output=True, text=True, check=True
    )
    rows = [line.split() for line in listed.stdout.splitlines()]
    return [pid for group, state, pid in rows if group == str(number) and state[0] != "Z"]
