import os
import subprocess
import sys

TRAIN_PACKAGES = ("torch", "torchvision", "thop")


def test_profiling_needs_no_torch(tmp_path, tiny_onnx):
    # Packages that fail on import hide the real ones in every process; a `None` in this process's
    # sys.modules would not reach the child that measures the time.
    for package in TRAIN_PACKAGES:
        (tmp_path / f"{package}.py").write_text(f"raise ImportError('{package} is blocked')")
    done = subprocess.run(
        [sys.executable, "-m", "kdtool", "profile", str(tiny_onnx), "--seconds", "0.01"],
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
