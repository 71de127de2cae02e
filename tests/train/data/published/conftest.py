"""A web server for tests of downloads."""

import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest


@pytest.fixture
def server(tmp_path):
    """A web server of the folder `served`; `requests` fills with the paths asked for."""
    folder = tmp_path / "served"
    folder.mkdir()
    requests = []

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, *args):
            requests.append(self.path)

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=folder)) as http:
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        http.folder, http.requests = folder, requests
        http.address = f"http://127.0.0.1:{http.server_address[1]}/"
        yield http
        http.shutdown()
        thread.join()
