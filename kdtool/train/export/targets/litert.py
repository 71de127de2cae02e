"""A network in the form of LiteRT, converted by litert-torch in an environment of its own."""

import subprocess
from pathlib import Path

import torch
from torch import nn

from kdtool.edge.targets.verify import cause
from kdtool.errors import GateError
from kdtool.files import scratch_folder
from kdtool.train.export.onnx_file import silence
from kdtool.train.export.targets.venv import Venv
from kdtool.train.models.networks import ImageShape

# litert-torch 0.10 wants torch below 2.15. This one reads programs that torch 2.15 saves.
CONVERTER = Venv(
    packages=(
        "litert-torch==0.10.0",
        "torch==2.14.1",
        "litert-converter==0.5.0",
        "ai-edge-litert==2.3.0",
    ),
    gigabytes=7,
)
SCRIPT = Path(__file__).with_name("litert_torch_script.py")


def write_litert(network: nn.Module, image_shape: ImageShape, path: Path) -> None:
    """Write a network as a `.tflite` file of one image a run, in float32.

    litert-torch also ends well with files that LiteRT cannot load: only a run decides.

    Args:
        network: Takes float32 `(1, C, H, W)` on the CPU, in eval mode.
        image_shape: C, H, W.
        path: Of the file. `CONVERTER` is made already.

    Raises:
        GateError: PyTorch cannot export the network, or litert-torch cannot convert it.
    """
    with scratch_folder() as scratch:
        program, made = scratch / "model.pt2", scratch / "model.tflite"
        try:
            with torch.no_grad(), silence():
                example = (torch.zeros(1, *image_shape),)
                torch.export.save(torch.export.export(network, example), program)
        except Exception as error:  # of a network of the user
            raise GateError(f"PyTorch cannot export the network: {cause(str(error))}") from error
        done = subprocess.run(
            [CONVERTER.python, "-I", "-B", "-X", "utf8", SCRIPT, program, made],
            cwd=scratch,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            check=False,
        )
        if done.returncode != 0 or not made.is_file():
            said = done.stderr.strip().splitlines()[-1:] if done.returncode > 0 else []
            why = cause("".join(said)) or f"it ended with status {done.returncode}"
            raise GateError(f"its converter, litert-torch, failed: {why}")
        path.write_bytes(made.read_bytes())
