"""One check, in this process: `python -m tools.accelerator CHECK --into FILE ...`, which `accelerator_check` starts.

Each finding is a line of JSON at the end of FILE as soon as it is there.
"""

import argparse
import dataclasses
import importlib
import json
import signal
import sys
from pathlib import Path

from . import CHECKS, Finding, Report


def main() -> None:
    """Run the check, or say what the machine is."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("check", choices=["machine", *CHECKS])
    parser.add_argument("--into", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--platform", default="cpu")
    parser.add_argument("--subject", action="append", default=[])
    options = parser.parse_args()

    def give(finding: Finding) -> None:
        with options.into.open("a") as file:
            file.write(json.dumps(dataclasses.asdict(finding)) + "\n")

    # Asked to end, it ends as after an error, so that what it has started is ended too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    if options.check != "resume":  # whose processes need the accelerator themselves
        from gen_models.training.startup import start

        start()
    if options.check == "machine":
        options.into.write_text(json.dumps(_machine()))
        return
    module = importlib.import_module(f"{__package__}.{CHECKS[options.check].module}")
    module.run(options.subject, Report(options.check, options.seconds, options.platform, give))


def _machine() -> dict[str, object]:
    """The devices, beside what `tools.benchmark` says of a machine."""
    import jax

    from ..benchmark import describe_machine

    first = jax.devices()[0]
    try:
        memory = (first.memory_stats() or {}).get("bytes_limit")
    except (RuntimeError, NotImplementedError):  # of a CPU
        memory = None
    return {
        **describe_machine(),
        "platform": first.platform if first.platform in ("cpu", "tpu") else jax.default_backend(),
        "device": first.device_kind,
        "devices": jax.device_count(),
        "device_memory": memory,
    }


if __name__ == "__main__":
    main()
