"""Write docs/cli.md, docs/recipe.md with recipes/recipe.schema.json, and docs/results-json.md.

uv run python docs/generate/all.py
"""

import runpy
from pathlib import Path

for script in sorted(Path(__file__).parent.glob("*.py")):
    if script != Path(__file__):
        runpy.run_path(str(script), run_name="__main__")
