#!/usr/bin/env bash
# Three and more tasks of one CPU each run at a time on two CPUs, if they report their progress through `ray.util.queue.Queue`.
#
# ray 2.60.0. `Queue.put` calls `ray.get` and so waits for the answer of the queue's actor. Ray takes the CPU of a task that waits
# and gives it to the next one in line, since that one could be what the task waits for. Its documentation says so, under
# "nested tasks", and that the CPU is taken back when the answer comes; but the task goes on at once, beside the new one. Ten
# short reports a second are enough to double the load, and each task more needs its memory. kdtool's workers hand their reports
# over with `queue.actor.put_nowait.remote(...)`, which waits for nothing.
#
# Seen: at most 2 tasks at a time that report without waiting, at most 4 of 4 that report by put
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet uv==0.13.9
"$folder/env/bin/uv" pip install --quiet --python "$folder/env/bin/python" ray==2.60.0
export HOME="$folder" RAY_USAGE_STATS_ENABLED=0
cd "$folder"
env/bin/python - <<'PY'
import time

import ray
from ray.util.queue import Queue

ray.init(address="local", num_cpus=2, include_dashboard=False, logging_level="ERROR", log_to_driver=False)


@ray.remote(num_cpus=1)
def work(queue, waits):
    began = time.time()
    while time.time() < began + 10:
        if waits:
            queue.put("still at work")
        else:
            queue.actor.put_nowait.remote("still at work")
        time.sleep(0.1)
    return began, time.time()


def most_at_a_time(waits):
    queue = Queue(actor_options={"num_cpus": 0})
    times = ray.get([work.remote(queue, waits) for _ in range(4)])
    return max(sum(began <= at < ended for began, ended in times) for at, _ in times)


quiet, waiting = most_at_a_time(False), most_at_a_time(True)
print(f"at most {quiet} tasks at a time that report without waiting, at most {waiting} of 4 that report by put")
assert quiet == 2 < waiting, "Ray behaves otherwise now"
PY
