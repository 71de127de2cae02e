#!/usr/bin/env bash
# A training on two machines that ends well prints a traceback on one, if the other works more than five minutes longer.
#
# torch 2.15.0. The torchrun of each machine waits for the others when its own processes have ended, 300 seconds at most, which no
# option changes. Then it logs "Error waiting on exit barrier" with the traceback of a timeout, although nothing failed, and ends
# with status 0. A program of which rank 0 alone evaluates, exports or uploads at the end meets that with its first long one. Here
# both machines are this one: two torchruns with one process each find each other by an address.
#
# Seen, with a rank 0 that works for 310 seconds: status 0 of both, "Error waiting on exit barrier" and a traceback of the other
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet uv==0.13.9
"$folder/env/bin/uv" pip install --quiet --python "$folder/env/bin/python" torch==2.15.0 numpy==2.4.6
cd "$folder"
cat >work.py <<'PY'
import os
import time

import torch.distributed as dist

dist.init_process_group("gloo")
dist.barrier()
dist.destroy_process_group()
if os.environ["RANK"] == "0":
    time.sleep(310)  # as a rank that exports what all have trained
PY
port="$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')"
machine() {
    env/bin/torchrun --nnodes 2 --node-rank "$1" --nproc-per-node 1 --master-addr 127.0.0.1 --master-port "$port" \
        work.py >"machine$1" 2>&1
}
machine 0 &
machine 1
echo "the machine that ended first: status $?, $(grep -c 'Error waiting on exit barrier' machine1) time 'Error waiting on exit barrier'"
wait %1
echo "the machine of rank 0: status $?"
grep -q "Error waiting on exit barrier" machine1 && grep -q "Traceback (most recent call last)" machine1 ||
    { echo "torchrun waits longer now, or says less" && exit 1; }
! grep -q Traceback machine0
