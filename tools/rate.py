"""Ask people: is an image real or generated, and which of two models is preferred? On a page that this machine serves.

python -m tools.rate runs/vae/base/0                              # real or generated, each shown for 500 ms
python -m tools.rate runs/vae/base/0 --show-ms 0                  # with unlimited time
python -m tools.rate runs/vae/base/0 runs/vae/beta4/0 --task prefer --out ratings/vae
python -m tools.rate samples --real photos                        # folders of images, which may be read-only
python -m tools.rate --out ratings/vae                            # go on with a session
python -m tools.rate --out ratings/vae --report                   # error rates or preferences, with intervals

Raters are not told where an image is from: names and order say nothing, and one seed shuffles all. Every answer is
on the disk before the page shows the next question, so that a kill loses none; the same command goes on where each
rater was.

With --task real half of the images are real ones: of a run's test part, or of --real DIR. With --task prefer the images
of two sources stand side by side; one source alone meets the real images.
"""

import argparse
import os
import socket
from collections.abc import Sequence
from pathlib import Path

from gen_models.run import cli, endings, tool
from gen_models.run.config import FINISHED
from gen_models.run.console import say

from .rating_page import answers, plan, report, session
from .rating_page.application import HOSTS, LONGEST_BODY, Application

PORT = 8710
SHOW_MS = 500  # where HYPE's exposures begin (Zhou et al., 2019)
THREADS = 8  # that answer requests: a browser has up to six connections


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse, and report or serve; the exit status."""
    options = _parser().parse_intermixed_args(arguments)
    if options.report:
        if options.runs:
            raise ValueError("--report is of the session in --out: give no run")
        found = plan.load(options.out)
        given, warnings = answers.read(options.out, found)
        for line in warnings:
            endings.warn(line)
        report.show(found, given)
        return FINISHED
    if not 0 <= options.port <= 65_535 or 0 < options.port < 1024:
        raise ValueError(f"--port must be from 1024 to 65535, or 0 for any that is free, got {options.port}")
    serve(options.out, session.opened(options.out, asked(options), options), options.port)
    return FINISHED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="*", metavar="RUN", help="run directories, or folders of images")
    parser.add_argument(
        "--task",
        choices=tuple(plan.ANSWERS),
        default=plan.REAL,
        help="real or generated, or which of two (default: real)",
    )
    parser.add_argument(
        "--images", type=int, default=50, metavar="N", help="images of each source, or of any two (default: 50)"
    )
    parser.add_argument("--real", type=Path, metavar="DIR", help="real images, in place of the runs' test parts")
    parser.add_argument("--with-real", action="store_true", help="with --task prefer, real images compete, too")
    parser.add_argument(
        "--untransformed",
        action="store_true",
        help="show the runs' real images as stored, not as their models see them",
    )
    parser.add_argument(
        "--show-ms", type=int, metavar="MS", help=f"how long; 0: until the answer (default: real {SHOW_MS}, prefer 0)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of samples, choice and order (default: 0)")
    parser.add_argument("--out", type=Path, default=Path("ratings"), help="the session's folder (default: ratings)")
    parser.add_argument("--port", type=int, default=PORT, help=f"of the page (default: {PORT}; 0: any that is free)")
    parser.add_argument("--report", action="store_true", help="show what was answered, and serve nothing")
    tool.run_options(parser)
    return parser


def asked(options: argparse.Namespace) -> plan.Asked:
    """What the options ask for."""
    show_ms = options.show_ms if options.show_ms is not None else SHOW_MS if options.task == plan.REAL else 0
    return plan.Asked(
        task=options.task,
        sources=tuple(os.path.abspath(path) for path in options.runs),
        real=None if options.real is None else os.path.abspath(options.real),
        with_real=options.with_real,
        images=options.images,
        show_ms=show_ms,
        seed=options.seed,
        untransformed=options.untransformed,
    )


def serve(folder: Path, found: plan.Plan, port: int) -> None:
    """Serve a session until Ctrl-C, at 127.0.0.1 alone.

    Raises:
      ValueError: the port is taken, or another process serves the session.
      ImportError: the server library is not installed.
    """
    try:
        import waitress
    except ImportError as error:
        raise ImportError("the page needs a server library: pip install 'gen_models[rate]'") from error
    with answers.opened(folder, found, endings.warn) as kept:
        application = Application(folder, found, kept)
        options = {"threads": THREADS, "ident": None, "max_request_body_size": LONGEST_BODY + 1}
        try:
            listening = socket.create_server((HOSTS[0], port))
        except OSError as error:
            raise ValueError(f"--port {port} cannot be used ({error.strerror}): give another, or 0") from error
        with listening:
            server = waitress.create_server(application, sockets=[listening], **options)
            say(f"{len(found.questions):,} questions for each rater; answers are kept in", folder / answers.FILE)
            say(f"open http://{HOSTS[0]}:{listening.getsockname()[1]} in a browser of this machine; Ctrl-C ends")
            server.run()


if __name__ == "__main__":
    cli.guard(main)
