"""Start `tools.serve RUN`, load it, send it malformed requests, stop it under load, and say what became of all.

python -m tools.serve_check runs/tables/mlp/0                           # 16 clients, 8 inputs a request, 10 seconds
python -m tools.serve_check runs/tables/mlp/0 --clients 64 --rows 1

It ends with status 1 where a request was lost or answered wrongly, a malformed one was not clearly refused, or fewer
inputs a second were answered than `--least`.

What it measured stands in docs/serving.md.
"""

import contextlib
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

from gen_models.run import cli, tool
from gen_models.run.console import say

from .serving.client import Address, Load, body_of, example, get, malformed, refusal

BODIES = 64  # different requests
ENDS_WITHIN = 30  # seconds after the clients have ended
MALFORMED = 100


class Running(NamedTuple):
    """A server in a process of its own."""

    process: "subprocess.Popen[str]"
    address: Address


def main() -> int:
    """Parse, start, load, refuse, stop; the exit status."""
    parser = tool.run_parser(__doc__)
    parser.add_argument("--clients", type=int, default=16, help="that ask at the same time (default: 16)")
    parser.add_argument("--rows", type=int, default=8, help="inputs of a request (default: 8)")
    parser.add_argument("--seconds", type=float, default=10, help="of load (default: 10)")
    parser.add_argument("--least", type=float, default=0, help="inputs a second that must be answered (default: 0)")
    arguments = parser.parse_args()
    for name in ("clients", "rows", "seconds"):
        if not getattr(arguments, name) > 0:
            raise ValueError(f"--{name} must be above 0, got {getattr(arguments, name)}")
    words = [str(arguments.run), *(["--best"] if arguments.best else [])]
    for name in ("data_dir", "dataset", "experiment"):
        if getattr(arguments, name) is not None:
            words += [f"--{name.replace('_', '-')}", str(getattr(arguments, name))]
    with started(*words) as running:
        return _checked(running, arguments)


@contextlib.contextmanager
def started(*words: str) -> Iterator[Running]:
    """`tools.serve` with these words at a free port, once it answers; it is killed where the block leaves it running.

    Raises:
      ValueError: it does not start; with what it said.
    """
    command = [sys.executable, "-m", f"{__package__}.serve", *words, "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None and process.stderr is not None
        line = process.stdout.readline()  # it ends where the process does
        found = re.search(r"http://(.+):(\d+)$", line.strip())
        if found is None:
            raise ValueError(f"tools.serve did not start: {line}{process.stderr.read()}".strip())
        yield Running(process, Address(found[1], int(found[2])))
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def _checked(running: Running, arguments: Any) -> int:
    address = running.address
    described = get(address, "/")[1]
    draw, faults = random.Random(0), list[str]()
    rows = min(arguments.rows, described["limits"]["rows"])
    bodies = [body_of([example(described, draw) for _ in range(rows)]) for _ in range(BODIES)]

    load = Load(address, bodies, rows, arguments.clients).start()
    time.sleep(arguments.seconds)
    tally = load.stop()
    rate = tally.rows / tally.seconds
    shares = ", ".join(f"{word} {1000 * tally.percentile(p):.1f} ms" for word, p in _PERCENTILES)
    asked = f"{tally.answered:,} requests of {rows} by {arguments.clients} clients"
    say(f"load: {rate:,.0f} inputs a second, {asked}; {shares}")
    if tally.lost or tally.wrong or tally.refused:
        faults.append(f"under load {tally.lost} were lost, {tally.wrong} wrong, {tally.refused} refused")
    if rate < arguments.least:
        faults.append(f"{rate:,.0f} inputs a second are fewer than {arguments.least:,.0f}")

    requests = malformed(described, MALFORMED)
    unclear = [fault for request in requests if (fault := refusal(address, request)) is not None]
    say(f"malformed: {len(requests) - len(unclear)} of {len(requests)} clearly refused")
    faults += unclear

    load = Load(address, bodies, rows, arguments.clients).start()
    time.sleep(min(2.0, arguments.seconds))
    running.process.send_signal(signal.SIGTERM)
    tally = load.wait()
    try:
        status: int | str = running.process.wait(ENDS_WITHIN)
    except subprocess.TimeoutExpired:
        status = f"none within {ENDS_WITHIN} seconds"
    counts = f"{tally.answered:,} answered, {tally.lost} lost, {tally.wrong} wrong"
    say(f"stopped under load: {counts}; exit status {status}")
    if tally.lost or tally.wrong or status:
        faults.append(f"at the stop {tally.lost} were lost and {tally.wrong} wrong, with exit status {status}")
    for fault in faults:
        say(f"FAILED: {fault}")
    return 1 if faults else 0


_PERCENTILES = (("median", 0.5), ("90 %", 0.9), ("99 %", 0.99), ("slowest", 1.0))

if __name__ == "__main__":
    cli.guard(main)
