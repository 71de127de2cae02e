"""The commands that run on the device, where no PyTorch is installed."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, get_args

import typer

from kdtool.cli.options import Json
from kdtool.errors import StudyError

if TYPE_CHECKING:
    from kdtool.results.profile import ProfileReport, Runtime

COMMAND = "ParameterSource.COMMANDLINE"

Threads = Annotated[int, typer.Option(min=1, help="Threads of ONNX Runtime.")]


def profile(
    context: typer.Context,
    models: Annotated[
        list[Path],
        typer.Argument(metavar="MODEL.onnx...", help="ONNX files, or the folder of a study."),
    ],
    threads: Annotated[
        str, typer.Option(metavar="N,N,...", help="Threads of the runtime, such as 1,2,4.")
    ] = "1",
    batch: Annotated[str, typer.Option(metavar="N,N,...", help="Images a run, such as 1,8.")] = "1",
    seconds: Annotated[float, typer.Option(help="How long to measure each file.")] = 3.0,
    provider: Annotated[str, typer.Option(help="auto, cpu, cuda, ...")] = "auto",
    runtime: Annotated[
        str, typer.Option(metavar="NAME,...", help="onnxruntime, openvino or both.")
    ] = "onnxruntime",
    shape: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[INPUT=]D,D,...",
            help="Shape of an image, where the file leaves it open; without the batch. Repeatable.",
        ),
    ] = None,
    ops: Annotated[bool, typer.Option("--ops", help="Show the time of each operator.")] = False,
    merge: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="PROFILE.json",
            help="Join what `kdtool profile --json` measured on a device to a study. Repeatable.",
        ),
    ] = None,
    as_json: Json = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print the results as CSV.")] = False,
) -> None:
    """Count and time ONNX files; needs no PyTorch."""
    if as_json and as_csv:
        raise typer.BadParameter("got --json and --csv; standard output holds one of them")
    if merge:
        given = [key for key in context.params if str(context.get_parameter_source(key)) == COMMAND]
        if useless := sorted(set(given) - {"models", "merge", "as_json"}):
            raise typer.BadParameter(f"--merge measures nothing; leave out {', '.join(useless)}")
        _merge(models, merge, as_json=as_json)
        return
    from kdtool.edge.profile import ProfileOptions, profile_models
    from kdtool.edge.session import choose_provider
    from kdtool.edge.shapes import parse_shape

    runtimes = _runtimes(runtime)
    if "onnxruntime" in runtimes:
        provider, note = choose_provider(provider)
        if note:
            typer.echo(note, err=True)
    elif provider not in {"auto", "cpu"}:
        raise typer.BadParameter(f"--provider {provider} is of onnxruntime; leave it out")
    options = ProfileOptions(
        threads=_numbers("--threads", threads),
        batch_sizes=_numbers("--batch", batch),
        seconds=seconds,
        provider=provider,
        runtimes=runtimes,
        shapes=dict(parse_shape(text) for text in shape or []),
        operators=ops,
    )
    with _onnx_files(models) as names:
        report = profile_models([file for file, _ in names], options)
    report = _with_names(report, {str(file): str(name) for file, name in names})
    _print(report, as_json=as_json, as_csv=as_csv)


def _print(report: "ProfileReport", *, as_json: bool, as_csv: bool) -> None:
    if as_json:
        from kdtool.results.base import to_json

        typer.echo(to_json(report), nl=False)
    elif as_csv:
        from kdtool.terminal.device import profile_csv

        typer.echo(profile_csv(report), nl=False)
    else:
        from rich.console import Console

        from kdtool.terminal.device import show_profile

        show_profile(Console(), report)


def predict(
    model: Annotated[Path, typer.Argument(metavar="MODEL.onnx", help="Made by kdtool.")],
    images: Annotated[list[Path], typer.Argument(metavar="IMAGE...", help="Image files.")],
    threads: Threads = 1,
    as_json: Json = False,
) -> None:
    """Say what is on images; needs no PyTorch."""
    from kdtool.edge.predict import predict_files

    report = predict_files(model, images, threads)
    if as_json:
        from kdtool.results.base import to_json

        typer.echo(to_json(report), nl=False)
    else:
        from rich.console import Console

        from kdtool.terminal.device import show_predictions

        show_predictions(Console(), report)
    if any(prediction.error for prediction in report.predictions):
        raise typer.Exit(1)


def _numbers(option: str, text: str) -> tuple[int, ...]:
    """Read "1,2,4"."""
    parts = text.split(",")
    if not all(part.strip().isdecimal() and int(part) > 0 for part in parts):
        raise typer.BadParameter(
            f"got {option} {text}; expected whole numbers of at least 1, such as {option} 1,2,4"
        )
    return tuple(dict.fromkeys(map(int, parts)))


def _runtimes(text: str) -> tuple["Runtime", ...]:
    """Read "onnxruntime,openvino"."""
    from kdtool.results.profile import Runtime

    known: tuple[Runtime, ...] = get_args(Runtime)
    found = tuple(one for part in text.split(",") for one in known if one == part.strip())
    if len(found) != len(text.split(",")):
        raise typer.BadParameter(
            f"got --runtime {text}; expected one or more of: {', '.join(known)}"
        )
    return found


@contextmanager
def _onnx_files(paths: list[Path]) -> Iterator[list[tuple[Path, Path]]]:
    """Give ONNX files and what they are called.

    For the folder of a study, these are its files; for a checkpoint, one for the time being.
    """
    files: list[tuple[Path, Path]] = []
    with TemporaryDirectory() as scratch:
        for number, path in enumerate(paths):
            if path.is_dir() and (path / "results.json").exists():
                from kdtool.results.study import load_results

                # The student first: all are compared with the first, and its int8 file with it.
                models = reversed(load_results(path / "results.json").models.values())
                listed = [path / file.path for model in models for file in model.files.values()]
                if not listed:
                    raise StudyError(
                        f"{path} has no ONNX files; `kdtool distill RECIPE` makes them"
                    )
                files += [(file, file) for file in listed]
            elif path.suffix == ".safetensors":
                from kdtool.train.export.fp32 import write_onnx

                file = Path(scratch) / str(number) / f"{path.stem}.onnx"
                write_onnx(path, file)
                files.append((file, path))
            else:
                files.append((path, path))
        yield files


def _with_names(report: "ProfileReport", names: dict[str, str]) -> "ProfileReport":
    """Call the models by what the user gave, not by a file that is gone."""

    def swap(name: str) -> str:
        path = next(path for path in names if name.startswith(path))
        return names[path] + name.removeprefix(path)

    models = [
        m.model_copy(update={"name": swap(m.name), "path": swap(m.path)}) for m in report.models
    ]
    pairs = [
        c.model_copy(update={"of": swap(c.of), "against": swap(c.against)})
        for c in report.comparisons
    ]
    return report.model_copy(update={"models": models, "comparisons": pairs})


def _merge(models: list[Path], profiles: list[Path], *, as_json: bool) -> None:
    """Join figures of devices to a study."""
    if len(models) != 1:
        raise typer.BadParameter(f"--merge takes one study, but {len(models)} paths were given")
    from kdtool.cli.options import show
    from kdtool.study.device_profiles import merge
    from kdtool.terminal.progress import Terminal

    results = merge(models[0], profiles, Terminal(quiet=False).warn)
    show(results, models[0], "devices", as_json=as_json)
