"""What tests/nightly.sh runs and a change does not wait for."""

import os

import pytest

nightly = pytest.mark.skipif("KDTOOL_NIGHTLY" not in os.environ, reason="tests/nightly.sh runs it")
