"""Equal networks through the whole report: how often is a difference claimed that does not exist?

    uv run python tests/benchmarks/equal_models.py [STUDIES]

Teacher, control and student of each study are the same network, and the student learns from labels
alone, so it equals the control to the last bit. In report.md every "faster", "slower", "more",
"fewer", "larger", "smaller", "higher" or "lower" of a table, and every class difference in bold, is
an error. At most one of 20 studies may have one.
"""

import re
import subprocess
import sys
import tempfile
from pathlib import Path

RECIPE = """
name = "equal"
seeds = [{seed}, {other}]
[data]
source = "digits"
[teacher]
model = "mnist-mlp"
epochs = 3
[student]
model = "mnist-mlp"
epochs = 3
[distill]
soft_weight = 0
[explain]
images = 1
"""
CLAIM = re.compile(r"\b(faster|slower|more|fewer|larger|smaller|higher|lower)\b")


def claims(markdown: str) -> list[str]:
    """Return the cells of tables that claim a difference."""
    cells = [
        cell.strip()
        for line in markdown.splitlines()
        if line.startswith("| ")
        for cell in line.split("|")
    ]
    return [
        cell for cell in cells if CLAIM.search(cell) or re.fullmatch(r"\*\*[^a-z]+\*\*.*", cell)
    ]


def main() -> None:
    num_studies = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    wrong = 0
    for number in range(num_studies):
        with tempfile.TemporaryDirectory() as folder:
            recipe = Path(folder) / "equal.toml"
            recipe.write_text(RECIPE.format(seed=2 * number, other=2 * number + 1))
            command = [sys.executable, "-m", "kdtool", "distill", str(recipe), "--out", folder]
            subprocess.run([*command, "--quiet", "--anyway"], check=True, stdout=subprocess.DEVNULL)
            found = claims((Path(folder) / "equal" / "report.md").read_text())
        wrong += bool(found)
        print(f"study {number + 1}: {'; '.join(found) or 'no difference claimed'}", flush=True)
    print(f"{wrong} of {num_studies} studies claim a difference")


if __name__ == "__main__":
    main()
