"""A Chromium with a camera, in which pages are opened."""

import pytest


@pytest.fixture(scope="module")
def browser():
    pytest.importorskip("playwright", reason="the group `browser` is not installed")
    from chromium import running_chromium

    # A camera that films a green field, and grants itself.
    with running_chromium(
        "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"
    ) as started:
        yield started
