"""The commands that need no PyTorch and run on a device too: profile, predict."""

import shlex
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kdtool.cli.checks import (
    BUDGETS,
    check_classifier,
    check_models,
    check_positive,
    check_probability,
    check_study_path,
    parse_budgets,
    split_list,
)
from kdtool.cli.options import Json, given_options, interruptible
from kdtool.cli.runtimes import ALL, READERS, competing, parse_runtimes, target_folders
from kdtool.cli.shell.completion import choices, providers
from kdtool.errors import StudyError

if TYPE_CHECKING:
    from kdtool.edge.predict import PredictionReport
    from kdtool.results.profile import ProfileReport

MOST_IMAGES = 10**9  # in a batch; more fit into no memory
MOST_THREADS = 256  # of a model; with more, starting them takes longer than most runs


@interruptible()
def profile(
    context: typer.Context,
    models: Annotated[
        list[Path],
        typer.Argument(
            metavar="MODEL...", help="ONNX files, or the folder of a study for all of its files."
        ),
    ],
    threads: Annotated[
        str, typer.Option(metavar="N,...", help="Numbers of threads to measure with, such as 1,4.")
    ] = "1",
    batch: Annotated[
        str, typer.Option(metavar="N,...", help="Batch sizes to measure, such as 1,8.")
    ] = "1",
    seconds: Annotated[
        float, typer.Option(metavar="S", help="Seconds to measure each file in each setting.")
    ] = 3.0,
    provider: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="Execution provider of ONNX Runtime: auto, cpu, cuda, coreml, ...",
            autocompletion=providers,
        ),
    ] = "auto",
    runtime: Annotated[
        str,
        typer.Option(
            metavar="NAME,...",
            help="Runtimes to measure with: onnxruntime, openvino, opencv, tract; or all that are "
            "installed, with the files of STUDY/targets. Others' answers are compared with ONNX "
            "Runtime's.",
            autocompletion=choices(*READERS, ALL),
        ),
    ] = "onnxruntime",
    shape: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[INPUT=]D,...",
            help="Shape of one image without the batch, such as 3,224,224, if the file leaves it "
            "open. Repeatable.",
        ),
    ] = None,
    ops: Annotated[
        bool, typer.Option("--ops", help="Also show the time of each operator.")
    ] = False,
    soak: Annotated[
        float | None,
        typer.Option(
            metavar="MINUTES",
            help="Then run each file so long without a pause: does its memory grow, does it get "
            "slower?",
        ),
    ] = None,
    budget: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=VALUE,...",
            help="Limits that each file has to keep: max_latency_ms, max_size_mb, max_memory_mb. "
            "Exit status 1 if a file is over one, or is not known to keep it. Repeatable.",
            autocompletion=choices(*(f"{key}=" for key in BUDGETS)),
        ),
    ] = None,
    merge: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="PROFILE.json",
            help="Measure nothing; add what `kdtool profile --json` measured on another machine "
            "to the report of the study MODEL. Repeatable.",
        ),
    ] = None,
    as_json: Json = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print the results as CSV.")] = False,
) -> None:
    """Measure ONNX files: parameters, MACs, memory and latency, and which file is faster.

    Needs no PyTorch. Each further file is compared with the first one.
    """
    if as_json and as_csv:
        raise typer.BadParameter("got both --json and --csv; give one of them")
    if merge:
        given = given_options(context)
        if useless := [given[name] for name in given if name not in {"merge", "as_json"}]:
            raise typer.BadParameter(f"--merge measures nothing; remove {', '.join(useless)}")
        _merge(models, merge, as_json=as_json)
        return
    limits = parse_budgets(budget or [])
    check_positive("--seconds", seconds)
    check_positive("--soak", soak)
    num_threads = _numbers("--threads", threads, MOST_THREADS)
    batch_sizes = _numbers("--batch", batch, MOST_IMAGES)
    runtimes = parse_runtimes(runtime)
    if "onnxruntime" not in runtimes and provider not in {"auto", "cpu"}:
        raise typer.BadParameter(
            f"got --provider {provider} with --runtime {runtime}; providers belong to onnxruntime: "
            "remove --provider"
        )
    from kdtool.edge.shapes import parse_shape

    shapes = dict(parse_shape(text) for text in shape or [])
    check_models(models)
    from kdtool.edge.profile import ProfileOptions, profile_models, with_budgets
    from kdtool.edge.session import choose_provider

    if "onnxruntime" in runtimes:
        provider, note = choose_provider(provider)
        if note:
            typer.echo(note, err=True)
    options = ProfileOptions(
        threads=num_threads,
        batch_sizes=batch_sizes,
        seconds=seconds,
        provider=provider,
        runtimes=runtimes,
        shapes=shapes,
        operators=ops,
        soak_minutes=soak,
        folders=target_folders(models, runtime),
    )
    with _onnx_files(models) as names:
        files = [file for file, _ in names]
        report = profile_models(files, replace(options, groups=competing(models, files, options)))
    report = _with_names(report, {str(file): str(name) for file, name in names})
    report = with_budgets(report, limits)
    _warn_of_saturation(report)
    again = [*dict.fromkeys(map(str, models)), *_typed(context)]
    _print(report, again, as_json=as_json, as_csv=as_csv)
    if any(check.fit != "within budget" for check in report.budgets):
        from kdtool.terminal.budget import failure_text
        from kdtool.terminal.text import error_console, print_message

        text = failure_text(report.budgets, with_values=as_json or as_csv)
        print_message(error_console(), text, "error", "bold red")
        raise typer.Exit(1)


def _typed(context: typer.Context) -> list[str]:
    """Return the options that were given, as they were."""
    words = []
    for name, word in given_options(context).items():
        value = context.params[name]
        for each in value if isinstance(value, list) else [value]:
            words += [word] if each is True else [word, str(each)]
    return words


def _print(report: "ProfileReport", typed: list[str], *, as_json: bool, as_csv: bool) -> None:
    if as_json:
        from kdtool.results.base import to_json

        typer.echo(to_json(report), nl=False)
    elif as_csv:
        from kdtool.terminal.device import profile_csv

        typer.echo(profile_csv(report), nl=False)
    else:
        from kdtool.terminal.device import show_profile
        from kdtool.terminal.text import output_console, show_next

        console = output_console()
        show_profile(console, report)
        again = shlex.join(["kdtool", "profile", *typed, "--json"])
        steps = [
            ("save these figures", f"{again} > profile.json"),
            ("add them to the report of a study", "kdtool profile STUDY --merge profile.json"),
        ]
        show_next(console, steps)


def predict(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="ONNX file that kdtool exported.")],
    images: Annotated[
        list[Path],
        typer.Argument(metavar="IMAGE...", help="Image files, and folders of image files."),
    ],
    min_confidence: Annotated[
        float | None,
        typer.Option(
            metavar="P",
            help="Refuse to answer where the class is less probable than P, such as 0.9.",
        ),
    ] = None,
    threads: Annotated[
        int,
        typer.Option(
            metavar="N", min=1, max=MOST_THREADS, help="Threads of ONNX Runtime, 1 to 256."
        ),
    ] = 1,
    as_json: Json = False,
    as_csv: Annotated[
        bool,
        typer.Option("--csv", help="Print CSV: a row an image, a column a class."),
    ] = False,
) -> None:
    """Classify images with an exported model.

    Needs no PyTorch. Images of another size are resized and centre-cropped. Of a folder, the images
    in its subfolders are classified too; where these have names of classes, the accuracy is
    printed.
    """
    if as_json and as_csv:
        raise typer.BadParameter("got both --json and --csv; give one of them")
    check_probability("--min-confidence", min_confidence)
    check_classifier("predict", model, images)
    _warn_of_changed([model])
    from kdtool.edge.predict import predict_files

    top = None if as_csv else 3
    report = predict_files(model, images, threads, top, min_confidence, _warn)
    _print_predictions(report, as_json=as_json, as_csv=as_csv)
    failures = [prediction.error for prediction in report.predictions if prediction.error]
    if failures:
        from kdtool.terminal.text import error_console, print_message

        if len(report.predictions) > 1:
            number = f"{len(failures)} of {len(report.predictions):,}"
            failures.append(f"{number} images could not be read")
        for text in failures:
            print_message(error_console(), text, "error", "bold red")
        raise typer.Exit(1)


def _print_predictions(report: "PredictionReport", *, as_json: bool, as_csv: bool) -> None:
    if as_json:
        from kdtool.results.base import to_json

        typer.echo(to_json(report), nl=False)
    elif as_csv:
        from kdtool.terminal.predictions import predictions_csv

        typer.echo(predictions_csv(report), nl=False)
    else:
        from kdtool.terminal.predictions import show_predictions, show_totals
        from kdtool.terminal.text import output_console

        console = output_console()
        show_predictions(console, report)
        show_totals(console, report)


def _numbers(option: str, text: str, most: int) -> tuple[int, ...]:
    """Read "1,2,4"."""
    parts = split_list(text)
    if not all(
        part.isdecimal() and len(part) <= len(str(most)) and 0 < int(part) <= most for part in parts
    ):
        limits = f"from 1 to {most}" if most < MOST_IMAGES else "of 1 or more"
        raise typer.BadParameter(
            f"got {option} {text[:80] or '(nothing)'}; expected whole numbers {limits}, such as "
            f"{option} 1,2,4"
        )
    return tuple(dict.fromkeys(map(int, parts)))


@contextmanager
def _onnx_files(paths: list[Path]) -> Iterator[list[tuple[Path, Path]]]:
    """Yield ONNX files and the names to show for them.

    For the folder of a study: its files; a checkpoint is exported to a temporary file.
    """
    files: list[tuple[Path, Path]] = []
    with ExitStack() as stack:
        for path in paths:
            if path.is_dir() and (path / "results.json").exists():
                from kdtool.results.study import load_results

                # The student first: every other file, its int8 file too, is compared with it.
                models = reversed(load_results(path / "results.json").models.values())
                listed = [path / file.path for model in models for file in model.files.values()]
                if not listed:
                    raise StudyError(
                        f"{path} has no ONNX files; `kdtool distill RECIPE` writes them"
                    )
                _warn_of_changed(listed)
                files += [(file, file) for file in listed]
            elif path.suffix == ".safetensors":
                from kdtool.train.export.fp32 import checkpoint_as_onnx

                files.append((stack.enter_context(checkpoint_as_onnx(path)), path))
            else:
                files.append((path, path))
        yield _each_once(files)


def _warn_of_changed(files: list[Path]) -> None:
    """Warn of files that are not those that their study has on record."""
    from kdtool.edge.model_file import changed_file

    for text in map(changed_file, files):
        if text:
            _warn(text)


def _warn_of_saturation(report: "ProfileReport") -> None:
    """Warn of int8 files that this processor computes otherwise."""
    from kdtool.edge.int8.saturation import saturation, target_of

    for one in report.models:
        if text := saturation(one.path, target_of(one.metadata)):
            _warn(text)


def _warn(text: str) -> None:
    from kdtool.terminal.progress import Terminal

    Terminal(quiet=False).warn(text)


def _each_once(files: list[tuple[Path, Path]]) -> list[tuple[Path, Path]]:
    """Leave out files that were given before, with a message: none is compared with itself."""
    once: dict[Path, tuple[Path, Path]] = {}
    for file, name in files:
        if file.resolve() in once:
            from kdtool.terminal.progress import Terminal

            Terminal().say(f"{name} was given more than once; it is measured once")
        else:
            once[file.resolve()] = file, name
    return list(once.values())


def _with_names(report: "ProfileReport", names: dict[str, str]) -> "ProfileReport":
    """Replace the names of temporary files by those that the user gave."""

    def swap(name: str) -> str:
        path = next((path for path in names if name.startswith(path)), "")  # else of a target
        return names.get(path, "") + name.removeprefix(path)

    models = [
        m.model_copy(update={"name": swap(m.name), "path": swap(m.path)}) for m in report.models
    ]
    pairs = [
        c.model_copy(update={"of": swap(c.of), "against": swap(c.against)})
        for c in report.comparisons
    ]
    soaks = [s.model_copy(update={"name": swap(s.name)}) for s in report.soaks]
    failed = [
        f.model_copy(update={"name": swap(f.name), "path": swap(f.path)}) for f in report.failed
    ]
    fastest = [
        f.model_copy(update={one: swap(getattr(f, one)) for one in ("among", "name", "against")})
        for f in report.fastest
    ]
    changes = {"models": models, "comparisons": pairs, "soaks": soaks}
    return report.model_copy(update=changes | {"failed": failed, "fastest": fastest})


def _merge(models: list[Path], profiles: list[Path], *, as_json: bool) -> None:
    """Add measurements of other machines to a study."""
    if len(models) != 1:
        raise typer.BadParameter(
            f"got {len(models)} paths with --merge; expected one, the folder of a study"
        )
    check_study_path(models[0])
    from kdtool.cli.options import show
    from kdtool.study.device_profiles import merge
    from kdtool.terminal.progress import Terminal

    results, num_merged = merge(models[0], profiles, Terminal(quiet=False).warn)
    show(results, models[0], "devices", as_json=as_json, num_merged=num_merged)
