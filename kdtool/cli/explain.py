"""The command that shows what an answer depends on, of a study or of any model file: explain."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, get_args

import typer

from kdtool.cli.checks import check_choice, check_classifier
from kdtool.cli.export import stage_again
from kdtool.cli.options import Device, Json, Quiet, given_options, interruptible
from kdtool.cli.shell.completion import choices

if TYPE_CHECKING:
    from kdtool.results.explained import ExplainFilesReport, MapMethod

OF_STUDY, OF_FILE = {"images", "device"}, {"masks", "class_name", "threads", "out"}


@interruptible()
def explain(
    context: typer.Context,
    target: Annotated[
        Path,
        typer.Argument(
            metavar="STUDY|MODEL.onnx", help="Folder of a finished study, or an ONNX file."
        ),
    ],
    pictures: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[IMAGE...]",
            help="Of an ONNX file: image files, and folders of image files.",
            show_default=False,
        ),
    ] = None,
    images: Annotated[
        int | None,
        typer.Option(
            metavar="N", min=1, max=64, help="Of a study: number of test images to show, 1 to 64."
        ),
    ] = None,
    device: Device = "auto",
    method: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Of an ONNX file: occlusion (covers squares, default) or rise (random masks). Of "
            "a study: gradient, smoothgrad, integrated-gradients or grad-cam.",
            autocompletion=choices(
                "occlusion", "rise", "gradient", "smoothgrad", "integrated-gradients", "grad-cam"
            ),
        ),
    ] = None,
    masks: Annotated[
        int,
        typer.Option(metavar="N", min=10, max=100_000, help="Of rise: number of masks."),
    ] = 1000,
    class_name: Annotated[
        str | None,
        typer.Option(
            "--class",
            metavar="NAME",
            help="Of an ONNX file: class to explain instead of the predicted one.",
        ),
    ] = None,
    threads: Annotated[
        int,
        typer.Option(metavar="N", min=1, max=256, help="Of an ONNX file: threads, 1 to 256."),
    ] = 1,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Of an ONNX file: new folder for PNG files and index.html.",
            show_default="MODEL-explained",
        ),
    ] = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Show what answers depend on, as saliency maps.

    Of a study: compute the maps of its test images again, for all of its models; nothing is
    trained. Of an ONNX file, int8 too: explain its answers for your pictures; needs no PyTorch.
    """
    given = given_options(context)
    if not pictures and target.suffix.lower() != ".onnx":
        _refuse(given, OF_FILE, f"{target} is explained as a study")
        if method is not None:
            from kdtool.recipe.schema import Attribution

            check_choice("--method", method, get_args(Attribution))
        options: dict[str, object] = {"explain.images": images, "explain.method": method}
        settings = {key: value for key, value in options.items() if value is not None}
        stage_again(target, "explain", settings, device, as_json=as_json, quiet=quiet)
        return
    _refuse(given, OF_STUDY, f"{target} is explained as an ONNX file")
    if not pictures:
        raise typer.BadParameter(f"give the images to explain: kdtool explain {target} IMAGE...")
    if "masks" in given and method != "rise":
        raise typer.BadParameter("--masks is of --method rise; add it, or remove --masks")
    check_classifier("explain", target, pictures)
    from kdtool.edge.explain.files import ExplainOptions, explain_files
    from kdtool.terminal.progress import Terminal

    chosen = ExplainOptions(
        method=_method(method or "occlusion"),
        num_masks=masks,
        class_name=class_name,
        threads=threads,
    )
    folder = out or Path(f"{target.stem}-explained")
    report = explain_files(target, pictures, folder, chosen, Terminal(quiet=quiet).progress)
    _show(report, as_json=as_json)


def _show(report: "ExplainFilesReport", *, as_json: bool) -> None:
    """Print the results; raise Exit where a picture could not be read."""
    if as_json:
        from kdtool.results.base import to_json

        typer.echo(to_json(report), nl=False)
    else:
        from kdtool.terminal.commands.explained import show_explained_files
        from kdtool.terminal.text import output_console

        show_explained_files(output_console(), report)
    failures = [one.error for one in report.images if one.error]
    if failures:
        from kdtool.terminal.text import error_console, print_message

        for text in failures:
            print_message(error_console(), text, "error", "bold red")
        raise typer.Exit(1)


def _method(name: str) -> "MapMethod":
    """Return the method of a name.

    Raises:
        BadParameter: There is no such method.
    """
    from kdtool.results.explained import MapMethod

    known: tuple[MapMethod, ...] = get_args(MapMethod)
    check_choice("--method", name, known)
    return next(one for one in known if one == name)


def _refuse(given: dict[str, str], names: set[str], reason: str) -> None:
    if useless := [option for name, option in given.items() if name in names]:
        raise typer.BadParameter(f"{reason}; remove {', '.join(useless)}")
