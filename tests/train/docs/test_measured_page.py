"""The page of what was measured: every command runs."""

import pytest
from page import MEASURED, run_pages


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_every_command_of_what_was_measured_runs(tmp_path, monkeypatch, write_idx_set):
    monkeypatch.chdir(tmp_path)
    assert run_pages([MEASURED], tmp_path, write_idx_set) == 6
