"""Logs a study to MLflow: to MLFLOW_TRACKING_URI, else to ./mlruns. Needs the extra `mlflow`."""

import os
import sys
import time
from contextlib import redirect_stdout, suppress
from pathlib import Path

# Before mlflow is imported. Without the second, a server that is away is asked for minutes; without
# the third, newer versions refuse to log to a folder.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
if not os.environ.get("MLFLOW_TRACKING_URI"):
    os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")

from mlflow.entities import Metric, Param, RunTag
from mlflow.tracking import MlflowClient

from kdtool.study.tracked import Tracked

EXPERIMENT = "kdtool"  # unless MLFLOW_EXPERIMENT_NAME is set
KEY = "kdtool.results_sha256"  # tag of a run
# Limits of MLflow's servers: metrics and parameters of one request, characters of a value.
MOST_METRICS = 1000
MOST_PARAMETERS = 100
LONGEST_VALUE = 6000
LONGEST_TAG = 5000


def log_to_mlflow(tracked: Tracked) -> str:
    """Log a study as a run, unless the same results were logged there before.

    Args:
        tracked: What to log.

    Returns:
        Where the log is.

    Raises:
        MlflowException: The server cannot be reached, or refuses; the run is then marked FAILED.
    """
    uri = os.environ.get("MLFLOW_TRACKING_URI") or Path("mlruns").absolute().as_uri()
    experiment = os.environ.get("MLFLOW_EXPERIMENT_NAME") or EXPERIMENT
    with redirect_stdout(sys.stderr):  # MLflow prints; standard output is for results
        client = MlflowClient(tracking_uri=uri)
        found = client.get_experiment_by_name(experiment)
        number = found.experiment_id if found else client.create_experiment(experiment)
        query = f"tags.`{KEY}` = '{tracked.key}' and attributes.status = 'FINISHED'"
        if client.search_runs([number], query, max_results=1):
            return f"{uri} has these results already, in experiment {experiment}"
        _log_run(client, number, tracked)
    return f"logged to MLflow at {uri}, experiment {experiment}, run {tracked.name}"


def _log_run(client: MlflowClient, experiment: str, tracked: Tracked) -> None:
    run = client.create_run(experiment, run_name=tracked.name).info.run_id
    try:
        now = int(1000 * time.time())
        tags = [RunTag(key, value[:LONGEST_TAG]) for key, value in tracked.tags.items()]
        client.log_batch(run, tags=[*tags, RunTag(KEY, tracked.key)])
        parameters = [
            Param(key, str(value)[:LONGEST_VALUE]) for key, value in tracked.parameters.items()
        ]
        for start in range(0, len(parameters), MOST_PARAMETERS):
            client.log_batch(run, params=parameters[start : start + MOST_PARAMETERS])
        metrics = [Metric(name, value, now, 0) for name, value in tracked.figures.items()]
        metrics += [
            Metric(f"{curve.name}/{name}", value, now + int(1000 * point.seconds), point.epoch)
            for curve in tracked.curves
            for point in curve.points
            for name, value in point.values.items()
        ]
        for start in range(0, len(metrics), MOST_METRICS):
            client.log_batch(run, metrics=metrics[start : start + MOST_METRICS])
        for path in tracked.files:
            client.log_artifact(run, str(path))
    except BaseException:
        with suppress(Exception):  # the first error is the one to report
            client.set_terminated(run, status="FAILED")
        raise
    client.set_terminated(run)
