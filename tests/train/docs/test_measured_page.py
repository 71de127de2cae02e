"""The page of what was measured: its scripts exist, and every night each command runs."""

import pytest
from page import MEASURED, check_pages, run_pages


def test_every_command_of_what_was_measured_names_a_script(tmp_path, monkeypatch, write_idx_set):
    monkeypatch.chdir(tmp_path)
    assert check_pages([MEASURED], tmp_path, write_idx_set) == 6


@pytest.mark.nightly
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_every_command_of_what_was_measured_runs(tmp_path, monkeypatch, write_idx_set):
    monkeypatch.chdir(tmp_path)
    assert run_pages([MEASURED], tmp_path, write_idx_set) == 6
