"""How well `kdtool doctor` foresees the time of training: forecast and training in turn.

uv run python tests/benchmarks/forecast.py [--cpu] [RECIPE [KEY=VALUE ...]]

Prints for each of three rounds the forecast, the sum of the epochs trained then, and their ratio.
With --cpu both are seconds of this process's processor time, which other programs change less than
the clock's: use it with OMP_NUM_THREADS=1.
"""

import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

NUM_ROUNDS = 3
FEW = ["seeds=[0]", "teacher.min_steps=0", "teacher.epochs=3", "student.min_steps=0"]


def main(recipe: Path, settings: list[str]) -> None:
    from kdtool.recipe.checks import load_checked
    from kdtool.study.folder import Study
    from kdtool.train.pipeline.check import models_of
    from kdtool.train.pipeline.doctor.forecast import forecast
    from kdtool.train.pipeline.roles import train_role
    from kdtool.train.reporter import Silent
    from kdtool.train.run import open_run

    for number in range(NUM_ROUNDS):
        with TemporaryDirectory() as folder:
            loaded = load_checked(recipe, settings, Path(folder))
            run = open_run(Study(Path(folder) / loaded.name), loaded, "auto", Silent())
            expected = forecast(run, models_of(run, subclasses=False), 1)
            models = {}
            with run.study.locked():
                for one in expected.models:
                    models[one.role] = train_role(run, one.role, models)
        line = []
        total = 0.0
        for one in expected.models:
            taken = [sum(e.seconds for e in found.result.epochs) for found in models[one.role]]
            total += sum(taken)
            mean = sum(taken) / len(taken)
            line.append(f"{one.role} {one.seconds:.1f} / {mean:.1f} = {one.seconds / mean:.2f}")
        ratio = expected.seconds / total
        print(
            f"{number}: {'; '.join(line)}; all {expected.seconds:.1f} / {total:.1f} = {ratio:.2f}"
        )


if __name__ == "__main__":
    arguments = [one for one in sys.argv[1:] if one != "--cpu"]
    if "--cpu" in sys.argv:
        time.perf_counter = time.process_time
    path, *given = arguments or ["recipes/mnist.toml", *FEW]
    main(Path(path), given)
