"""Whether this is the run of tests/nightly.sh, which includes the tests marked `nightly`."""

import os

IS_NIGHT = "KDTOOL_NIGHTLY" in os.environ
