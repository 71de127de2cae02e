"""A network in the form of ncnn, converted by pnnx."""

import subprocess
from pathlib import Path

import torch
from torch import nn

from kdtool.edge.targets.verify import cause
from kdtool.errors import GateError
from kdtool.files import scratch_folder
from kdtool.train.export.onnx_file import silence
from kdtool.train.models.networks import ImageShape


def write_ncnn(network: nn.Module, image_shape: ImageShape, path: Path) -> None:
    """Write a network as `path`, its layers, and as a `.bin` next to it, its weights in float32.

    pnnx also ends well with files that ncnn cannot load: only a run decides.

    Args:
        network: Takes float32 `(1, C, H, W)` on the CPU, in eval mode. pnnx needs a module of a
            named class: one for a bare `nn.Sequential` raises a SyntaxError.
        image_shape: C, H, W.
        path: Of the `.param` file.

    Raises:
        GateError: PyTorch cannot trace the network, or pnnx cannot convert it.
    """
    import pnnx

    with scratch_folder() as scratch:  # pnnx writes seven files next to its input
        traced = scratch / "model.pt"
        try:
            with torch.no_grad(), silence():  # it warns of what tracing fixes: the run decides
                example = torch.zeros(1, *image_shape)
                torch.jit.trace(network, (example,), check_trace=False).save(str(traced))  # type: ignore[no-untyped-call]
        except Exception as error:  # of a network of the user
            raise GateError(f"PyTorch cannot trace the network: {cause(str(error))}") from error
        size = ",".join(map(str, example.shape))
        done = subprocess.run(
            [pnnx.EXEC_PATH, traced.name, f"inputshape=[{size}]", "fp16=0", "device=cpu"],
            cwd=scratch,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            check=False,
        )
        made = {path.with_suffix(end): scratch / f"model.ncnn{end}" for end in (".param", ".bin")}
        if done.returncode != 0 or not all(one.is_file() for one in made.values()):
            reason = cause(done.stderr) or f"it ended with status {done.returncode}"
            raise GateError(f"its converter, pnnx, failed: {reason}")
        for new, old in made.items():
            new.write_bytes(old.read_bytes())
