"""What tests/nightly.sh runs and a change does not wait for."""

import os

import pytest

IS_NIGHT = "KDTOOL_NIGHTLY" in os.environ
nightly = pytest.mark.skipif(not IS_NIGHT, reason="tests/nightly.sh runs it")
