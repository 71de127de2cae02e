"""What the templates read: a frozen section for each part of the report, in its order.

A new section is a module in `sections/` (a frozen dataclass with the text of its `LINK`, and a
function that returns it, or None if the study has none of it), a template of the same name in
`templates/html` and in `templates/markdown`, and a line in each list below.
"""

from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path

from kdtool.format import printable, roles_present
from kdtool.report import provenance, summary
from kdtool.report.parts import pictures
from kdtool.report.parts.canvas import Drawing
from kdtool.report.parts.pictures import GallerySection
from kdtool.report.provenance import ProvenanceSection
from kdtool.report.sections import (
    bias_shift,
    calibration,
    classes,
    coverage,
    duplicates,
    flips,
    methods,
    operating_point,
    saliency,
    subclasses,
    sweep,
    training,
)
from kdtool.report.sections.bias_shift import BiasShiftSection
from kdtool.report.sections.calibration import CalibrationSection
from kdtool.report.sections.classes import ClassesSection
from kdtool.report.sections.cost import comparison, devices, files, targets, tradeoff
from kdtool.report.sections.cost.comparison import ComparisonSection
from kdtool.report.sections.cost.devices import DevicesSection
from kdtool.report.sections.cost.files import FilesSection
from kdtool.report.sections.cost.targets import TargetsSection
from kdtool.report.sections.cost.tradeoff import TradeoffSection
from kdtool.report.sections.coverage import CoverageSection
from kdtool.report.sections.duplicates import DuplicatesSection
from kdtool.report.sections.flips import FlipsSection
from kdtool.report.sections.methods import MethodsSection
from kdtool.report.sections.operating_point import OperatingPointSection
from kdtool.report.sections.saliency import SaliencySection
from kdtool.report.sections.subclasses import SubclassesSection
from kdtool.report.sections.sweep import SweepSection
from kdtool.report.sections.training import TrainingSection
from kdtool.report.summary import SummarySection
from kdtool.results.base import Role
from kdtool.results.study import Results


@dataclass(frozen=True, kw_only=True, slots=True)
class Header:
    """The head and the foot of the page."""

    name: str
    warnings: list[str]
    models: list[tuple[Role, str]]  # each role with the name of its network
    data: str
    num_classes: int
    num_test: int  # images
    pixelated: bool  # the images are so small that each pixel is shown as a square
    kdtool: str  # version


@dataclass(frozen=True, kw_only=True, slots=True)
class ReportContext:
    """All that the templates read; None: the study has nothing for that section."""

    header: Header
    gallery: GallerySection | None
    summary: SummarySection
    comparison: ComparisonSection | None
    tradeoff: TradeoffSection | None
    files: FilesSection | None
    targets: TargetsSection | None
    devices: DevicesSection | None
    methods: MethodsSection | None
    sweep: SweepSection | None
    bias_shift: BiasShiftSection | None
    subclasses: SubclassesSection | None
    classes: ClassesSection | None
    operating_point: OperatingPointSection | None
    flips: FlipsSection | None
    coverage: CoverageSection | None
    calibration: CalibrationSection | None
    saliency: SaliencySection | None
    training: TrainingSection | None
    duplicates: DuplicatesSection | None
    provenance: ProvenanceSection


NO_SECTIONS = ("header", "gallery")  # fields without a template of their own


def report_context(results: Results, folder: Path) -> ReportContext:
    """Return all that the templates read, figures included.

    Args:
        results: The study's.
        folder: The study's; holds the files of pictures that `results` names.

    Raises:
        StudyError: A file of pictures is missing or damaged.
    """
    return ReportContext(
        header=_header(results),
        gallery=pictures.section(results, folder),
        summary=summary.section(results),
        comparison=comparison.section(results),
        tradeoff=tradeoff.section(results),
        files=files.section(results),
        targets=targets.section(results),
        devices=devices.section(results),
        methods=methods.section(results),
        sweep=sweep.section(results),
        bias_shift=bias_shift.section(results),
        subclasses=subclasses.section(results),
        classes=classes.section(results),
        operating_point=operating_point.section(results),
        flips=flips.section(results),
        coverage=coverage.section(results),
        calibration=calibration.section(results),
        saliency=saliency.section(results, folder),
        training=training.section(results),
        duplicates=duplicates.section(results, folder),
        provenance=provenance.section(results),
    )


def _header(results: Results) -> Header:
    return Header(
        name=printable(results.name),
        warnings=[printable(warning) for warning in results.warnings],
        models=[(role, printable(results.models[role].model)) for role in roles_present(results)],
        data=printable(results.data.description),
        num_classes=len(results.data.classes),
        num_test=results.data.num_test,
        pixelated=results.data.image_shape[1] < pictures.PIXELATED_BELOW,
        kdtool=results.environment.kdtool,
    )


def sections(context: ReportContext) -> dict[str, object]:
    """Return the sections that the study has, by name, in the order of the report."""
    named = {field.name: getattr(context, field.name) for field in fields(context)}
    return {name: one for name, one in named.items() if one and name not in NO_SECTIONS}


def drawings(value: object) -> Iterator[Drawing]:
    """Return every figure inside a context, section or list, in its order."""
    if isinstance(value, Drawing):
        yield value
    elif isinstance(value, list):
        for one in value:
            yield from drawings(one)
    elif hasattr(value, "__dataclass_fields__"):
        for name in value.__dataclass_fields__:
            yield from drawings(getattr(value, name))
