"""How long `kdtool --help` takes, against importing typer and rich alone, in turns.

    uv run python tests/benchmarks/help_time.py [PAIRS]

The ratio of each pair is shown by its median and quartiles; at most 1.2 is expected of the median.
"""

import statistics
import subprocess
import sys
import time

HELP = "import sys; sys.argv = ['kdtool', '--help']; from kdtool.cli.app import main; main()"
IMPORTS = "import typer, rich"


def seconds(code: str) -> float:
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - start


def main() -> None:
    num_pairs = int(sys.argv[1]) if len(sys.argv) > 1 else 50
    seconds(HELP), seconds(IMPORTS)  # files are in the cache of the disk from here on
    ratios, helps, imports = [], [], []
    for k in range(num_pairs):
        # Each comes first in every second pair.
        if k % 2:
            helps.append(seconds(HELP))
            imports.append(seconds(IMPORTS))
        else:
            imports.append(seconds(IMPORTS))
            helps.append(seconds(HELP))
        ratios.append(helps[-1] / imports[-1])
    low, middle, high = statistics.quantiles(ratios, n=4)
    print(f"kdtool --help: {statistics.median(helps):.3f} s")
    print(f"import typer, rich: {statistics.median(imports):.3f} s")
    print(f"ratio of {num_pairs} pairs: median {middle:.3f}, quartiles {low:.3f} to {high:.3f}")


if __name__ == "__main__":
    main()
