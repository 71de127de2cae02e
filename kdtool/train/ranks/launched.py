"""How `torchrun` started this process; without PyTorch, as every command asks."""

import os
import sys
from dataclasses import dataclass

NAMES = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


@dataclass(frozen=True)
class Launched:
    """The place of this process among several that were started together."""

    number: int  # its rank, from 0 over all machines
    count: int  # processes on all machines, 2 or more
    local_number: int  # its rank, from 0 on this machine
    local_count: int  # processes on this machine
    address: tuple[str, int]  # of the store by which they find each other
    has_store: bool = True  # torchrun itself serves it; otherwise rank 0 does
    attempt: str = "0"  # of `torchrun --max-restarts`

    @property
    def leads(self) -> bool:
        """Whether this process runs the command, and the others help it."""
        return self.number == 0

    @property
    def name(self) -> str:
        """The process in words."""
        import socket  # 2 ms that other commands save

        return f"rank {self.number} on {socket.gethostname()}"

    @property
    def threads(self) -> int | None:
        """What the user asks for by OMP_NUM_THREADS; None: nothing, or 1, which torchrun sets."""
        given = os.environ.get("OMP_NUM_THREADS", "")
        return int(given) if given.isdecimal() and int(given) > 1 else None

    def be_quiet(self) -> None:
        """Leave it to rank 0, or the first rank of another machine, to print; before PyTorch."""
        # Of what PyTorch's C++ prints otherwise, most is printed by every rank.
        os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
        if self.local_number:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            for stream in (sys.stdout, sys.stderr):
                os.dup2(nowhere, stream.fileno())


def launched() -> Launched | None:
    """Return how this process was started; None: not by `torchrun`, or alone."""
    given = [os.environ.get(name, "") for name in NAMES]
    number, count, _, port = given
    if not all(given) or not (number + count + port).isdecimal() or int(count) < 2:
        return None
    return Launched(
        number=int(number),
        count=int(count),
        local_number=int(os.environ.get("LOCAL_RANK", "0")),
        local_count=int(os.environ.get("LOCAL_WORLD_SIZE", "1")),
        address=(given[2], int(port)),
        has_store=os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True",
        attempt=os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"),
    )
