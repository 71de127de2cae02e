"""Clusters that are not there, and nodes that cannot train; nothing here needs Ray."""

import socket

import pytest

from kdtool import __version__
from kdtool.errors import KdtoolError
from kdtool.train.pipeline.parallel.cluster import check_answers, trainer


@pytest.fixture
def port():
    """A port at which nothing listens."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]", "no-such-host.invalid"])
def test_a_cluster_that_is_not_there_is_an_error_at_once(host, port):
    with pytest.raises(KdtoolError, match=rf"nothing answers at {host.strip('[]')}:{port} \("):
        check_answers(f"ray://{host}:{port}")


def test_the_address_of_a_cluster_that_has_ended_is_an_error_too(tmp_path, monkeypatch, port):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    check_answers("auto")  # no address: Ray says so at once
    (tmp_path / "ray").mkdir()
    (tmp_path / "ray" / "ray_current_cluster").write_text(f"127.0.0.1:{port}")
    with pytest.raises(KdtoolError, match=f"--cluster auto: nothing answers at 127.0.0.1:{port}"):
        check_answers("auto")
    monkeypatch.setenv("RAY_ADDRESS", f"ray://127.0.0.1:{port}")
    with pytest.raises(KdtoolError, match="which `ray start --head` starts"):
        check_answers("auto")


def test_a_cluster_that_answers_is_not_an_error():
    with socket.create_server(("127.0.0.1", 0)) as server:
        check_answers(f"ray://127.0.0.1:{server.getsockname()[1]}")


def test_a_node_with_another_kdtool_says_so_and_trains_nothing():
    class Queue:
        def __init__(self):
            self.events = []

        def put(self, event):
            self.events.append(event)

    queue = Queue()
    said = trainer()("0.0.1", b"not read", queue, 7)
    assert f"has kdtool {__version__}, expected 0.0.1; install the same on all nodes" in said
    assert queue.events == [(7, "over")]
