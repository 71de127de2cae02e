"""The results page: every command can train what it says, and every night each of them runs."""

import pytest
from page import RESULTS, check_pages, run_pages

from kdtool.results.study import load_results


def test_every_study_of_the_results_can_be_trained(tmp_path, monkeypatch, write_idx_set):
    monkeypatch.chdir(tmp_path)
    assert check_pages([RESULTS], tmp_path, write_idx_set) == 12


@pytest.mark.nightly
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_every_command_of_the_results_runs(tmp_path, monkeypatch, write_idx_set):
    monkeypatch.chdir(tmp_path)
    assert run_pages([RESULTS], tmp_path, write_idx_set) == 12
    results = load_results(tmp_path / "runs" / "without-3" / "results.json")
    assert results.data.excluded == ["3"]
    assert [shift.role for shift in results.bias_shifts] == ["control", "student"]
    halves = load_results(tmp_path / "runs" / "mnist-2x5-full" / "results.json")
    assert halves.data.classes == ["0-4", "5-9"]
    assert all(use.fine for use in halves.subclasses)
