"""A profile as CSV: one row for each model and setting."""

import csv
import io

from kdtool.profiles import Latency, ModelProfile, ProfileReport

ENVIRONMENT = ("kdtool", "os", "cpu", "num_cores", "gpu")
MODEL = (
    "name", "path", "sha256", "size_bytes", "opset", "num_params", "num_bn_statistics", "num_macs",
    "num_flops", "partial",
)  # fmt: skip
SPLIT = "p50_ci95_ms"  # the only figure of two ends


def profile_csv(report: ProfileReport) -> str:
    """Return a table after RFC 4180, with a header; what is unknown is empty."""
    latency = [name for name in Latency.model_fields if name != SPLIT]
    header = [*MODEL, "uncounted_ops", *latency, "p50_lower_ms", "p50_upper_ms", *ENVIRONMENT]
    text = io.StringIO()
    rows = csv.writer(text)
    rows.writerow(header)
    for model in report.models:
        for setting in (model.latency, *model.other_latencies):
            rows.writerow(
                [
                    *_model_cells(model),
                    *(getattr(setting, name) for name in latency),
                    *setting.p50_ci95_ms,
                    *(getattr(report.environment, name) for name in ENVIRONMENT),
                ]
            )
    return text.getvalue()


def _model_cells(model: ModelProfile) -> list[object]:
    return [*(getattr(model, name) for name in MODEL), " ".join(model.uncounted_ops)]
