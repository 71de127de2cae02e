"""Started by torchrun: three ranks compute the cases; rank 0 writes what it found.

Arguments: a folder, which has the state of a training that one rank began.
"""

import sys
from pathlib import Path

import torch
from rank_cases import CASES, StopError, batch_norm, digits, running_mean, train

from kdtool import environment
from kdtool.errors import KdtoolError
from kdtool.train.fit import state
from kdtool.train.fit.loop import draw_apart
from kdtool.train.ranks import group
from kdtool.train.ranks.join import check_alike, connected, join
from kdtool.train.ranks.launched import launched

state.SECONDS_BETWEEN_SAVES = 0
group.CHUNK = 1000


def error_of(ranks, facts):
    """The message of rank 0; the others get none."""
    try:
        check_alike(ranks, f"rank {ranks.number}", facts)
    except KdtoolError as error:
        return str(error)
    return None


def main(folder):
    place = launched()
    ranks = join(place, "cpu", connected(place, first=True))
    own = folder / f"rank{ranks.number}"
    own.mkdir()
    splits, found = digits(), {}
    for name in CASES:
        found[name] = train(ranks, splits, name, own / f"{name}.pt")
    found["norm"] = batch_norm(ranks)
    found["sharers"] = environment.num_sharers()
    found["means"] = ranks.gathered(running_mean(ranks, splits, own / "mean.pt"))
    if ranks.leads:
        (folder / "one.pt").rename(own / "one.pt")
        (own / "file").write_bytes(bytes(range(250)) * 10)
    ranks.carry(own / "one.pt")
    ranks.carry(own / "file")
    ranks.carry(own / "missing")
    found["files"] = ranks.gathered((own / "file").read_bytes())
    found["missing"] = ranks.gathered((own / "missing").exists())
    found["from one"] = train(ranks, splits, "batch norm", own / "one.pt")
    try:
        train(ranks, splits, "batch norm", own / "three.pt", interrupt=True)
    except StopError:
        found["states"] = ranks.gathered((own / "three.pt").exists())
    torch.manual_seed(1)
    found["order"] = ranks.gathered(torch.randperm(50).tolist())
    draw_apart(ranks)
    found["dropout"] = ranks.gathered(torch.rand(50).tolist())
    values = torch.tensor([float("inf") if ranks.number == 1 else ranks.number + 1.0])
    ranks.average([values], [1, 0, 3][ranks.number])
    found["average"] = values
    same = {"data": "A", "PyTorch": "2"}
    found["alike"] = error_of(ranks, same)
    found["other data"] = error_of(ranks, same | ({"data": "B"} if ranks.number == 2 else {}))
    found["failed"] = error_of(ranks, "no such folder" if ranks.number == 1 else same)
    if ranks.leads:
        torch.save(found, folder / "found.pt")
    ranks.dismiss()


main(Path(sys.argv[1]))
