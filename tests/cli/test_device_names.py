"""What `--device` takes, before PyTorch is asked which devices there are."""

import pytest
import typer

from kdtool.cli.checks import check_device


@pytest.mark.parametrize("name", ["auto", "cpu", "cuda", "mps", "cuda:1", "cuda:7"])
def test_kinds_of_devices_and_numbers_of_gpus(name):
    check_device(name)


@pytest.mark.parametrize("name", ["cuda:", "cuda:one", "cuda:-1", "cpu:1", "mps:0", "gpu:1", ""])
def test_other_names_are_refused(name):
    with pytest.raises(
        typer.BadParameter, match=f"got --device {name or '.nothing.'}; expected auto, cpu, cuda"
    ):
        check_device(name)
