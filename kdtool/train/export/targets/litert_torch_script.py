"""Convert a program of PyTorch to LiteRT: `python -I litert_torch_script.py IN.pt2 OUT.tflite`.

It runs in the environment of `litert.py`, without kdtool.
"""

import sys


def main(program: str, path: str) -> None:
    """Write a `.tflite` file; end with the first line of the error if that fails."""
    import litert_torch
    import torch

    try:
        exported = torch.export.load(program)
        litert_torch.convert(exported.module(), *exported.example_inputs).export(path)
    except Exception as error:  # noqa: BLE001 - the last line of standard error is the answer
        sys.exit(next(iter(str(error).split("\n")), "") or type(error).__name__)


if __name__ == "__main__":
    main(*sys.argv[1:])
