import os
import subprocess
import sys

TRAIN_PACKAGES = ("torch", "torchvision", "thop")


def test_profiling_needs_no_torch(tmp_path, tiny_onnx):
    # Packages that break when imported stand in the way of the real ones, in every process: the
    # timing runs in a child, which a `None` in this process's sys.modules would not reach.
    for package in TRAIN_PACKAGES:
        (tmp_path / f"{package}.py").write_text(f"raise ImportError('{package} is blocked')")
    code = (
        "import sys, pathlib; from rich.console import Console\n"
        "from kdtool.edge.profile import profile_models\n"
        "from kdtool.terminal.profile import show_profile\n"
        "report = profile_models([pathlib.Path(sys.argv[1])], 1, 0.01, 1)\n"
        "show_profile(Console(), report)\n"
        "sys.exit(sorted({'torch', 'torchvision', 'thop'} & set(sys.modules)) or 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tiny_onnx)],
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "tiny.onnx" in done.stdout
    assert "6.93 k" in done.stdout


def test_the_block_on_torch_holds(tmp_path):
    (tmp_path / "torch.py").write_text("raise ImportError('torch is blocked')")
    done = subprocess.run(
        [sys.executable, "-c", "import torch"],
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "torch is blocked" in done.stderr
