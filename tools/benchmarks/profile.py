"""Where a compiled step's time goes, by JAX's own profiler: operations of XLA, their time, and the layer they are from.

On a CPU an operation may begin on one thread and end on another, operations run side by side, and loops contain others.
So time is shared out: every moment belongs in equal parts to the operations that are under way in it; to a loop, a call
or a branch only where nothing is under way inside it; and to none where the host prepares a step or reads its result.
The parts sum to the time that the steps took. What a device waits for the others is part of its all-reduce.
"""

import re
import tempfile
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from . import Contender

STEP = "benchmark_step"
CONTROL = ("while", "call", "conditional")
NONE = "(none: the host)"
PRODUCTS = {"dot": "dot_general", "convolution": "conv_general_dilated"}  # of XLA: of JAX


class Operation(NamedTuple):
    """One of XLA's, over all traced steps."""

    name: str  # in the compiled program; of another than the step's, behind that one's name
    kind: str  # "dot", "convolution", "fusion", ...
    source: str  # the layer and JAX's operation that it is from
    shape: str  # of its result, on one device
    seconds: float  # a step
    share: float  # of the step's time
    runs: float  # a step; over several devices, on all of them


class Span(NamedTuple):
    """An operation under way, in nanoseconds."""

    start: float
    end: float
    name: str
    control: bool = False  # a loop, call or branch, which contains others


def profile(contender: Contender, steps: int) -> tuple[float, list[Operation]]:
    """Seconds a step, and its operations, longest first; the host's part is called `NONE`.

    Raises:
      ValueError: the contender's program is not XLA's, or the trace has no operations (other platforms than a CPU name
        them in another way: open a `jax.profiler` trace in Perfetto there).
    """
    import jax

    if contender.hlo is None:
        raise ValueError("only a step that XLA compiled can be profiled here")
    for _ in range(3):
        contender.run()
    options = jax.profiler.ProfileOptions()
    options.python_tracer_level = 0  # calls of Python: they would cost more than the step
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder, profiler_options=options):
            for number in range(steps):
                with jax.profiler.StepTraceAnnotation(STEP, step_num=number):
                    contender.run()
        [trace] = Path(folder).rglob("*.xplane.pb")
        with warnings.catch_warnings():
            # Python 3.13 warns of the reader's own types when they are made; as an error that would abort the process.
            warnings.filterwarnings("ignore", "builtin type .* has no __module__", DeprecationWarning)
            windows, spans = _read(jax.profiler.ProfileData.from_file(str(trace)))
    if not spans or len(windows) != steps:
        raise ValueError(f"the profiler's trace holds {len(windows)} of {steps} steps and {len(spans)} operations")
    seconds = {name: time * 1e-9 / steps for name, time in share_out(spans, windows).items()}
    count = Counter(span.name for span in spans)
    step = sum(seconds.values())
    hlo = contender.hlo() or ""
    known = {f"{_module(hlo)}: {name}": what for name, what in instructions(hlo).items()}
    found = [
        Operation(
            name.removeprefix(f"{_module(hlo)}: "),  # others are of small programs around the step
            *known.get(name, (kind_of(name), "", "")),
            time,
            time / step,
            count[name] / steps,
        )
        for name, time in seconds.items()
    ]
    return step, sorted(found, key=lambda operation: -operation.seconds)


def by_kind(operations: Iterable[Operation]) -> list[Operation]:
    """One for each kind, longest first; fusions also by the operation of JAX that they end in."""
    groups: dict[str, list[Operation]] = defaultdict(list)
    for operation in operations:
        last = operation.source.rsplit("/", 1)[-1]
        groups[f"fusion, {last}" if operation.kind == "fusion" and last else operation.kind].append(operation)
    sums = [
        Operation(kind, kind, "", "", *(sum(column) for column in zip(*(o[4:] for o in group), strict=True)))
        for kind, group in groups.items()
    ]
    return sorted(sums, key=lambda operation: -operation.seconds)


def share_out(spans: Iterable[Span], windows: Iterable[tuple[float, float]]) -> dict[str, float]:
    """Time of each operation within the windows, in the spans' unit, and that of none (`NONE`)."""
    moments: list[tuple[float, int, Any]] = []
    for span in spans:
        moments += [(span.start, 1, span), (span.end, 0, span)]
    for start, end in windows:
        moments += [(start, 3, None), (end, 2, None)]
    moments.sort(key=lambda moment: moment[:2])
    leaves, control = Counter[str](), Counter[str]()
    total: dict[str, float] = defaultdict(float)
    inside, before = False, 0.0
    for now, what, span in moments:
        if inside and now > before:
            active: Mapping[str, int] = leaves or control or {NONE: 1}
            each = (now - before) / sum(active.values())
            for name, number in active.items():
                total[name] += each * number
        before = now
        if span is None:
            inside = what == 3
            continue
        under_way = control if span.control else leaves
        under_way[span.name] += 1 if what == 1 else -1
        if not under_way[span.name]:
            del under_way[span.name]
    return dict(total)


def instructions(hlo: str) -> dict[str, tuple[str, str, str]]:
    """`{name: (kind, source, shape)}` of a compiled program's text.

    Where XLA has lost an instruction's source, it gets its neighbours' layer, and the product inside of it.
    """
    found: dict[str, tuple[str, str, str]] = {}
    lost: dict[str, tuple[str, str]] = {}  # instruction -> the computations that it is in and that it calls
    layers: dict[str, Counter[str]] = defaultdict(Counter)  # of a computation's instructions
    products: dict[str, str] = {}  # inside a computation
    computation = ""
    line = re.compile(r"^\s*(?:ROOT )?%?([\w.-]+) = (\([^)]*\)|\S+) ([\w-]+)\(")
    for text in hlo.splitlines():
        match = line.match(text)
        if match is None:
            if header := re.match(r"^(?:ENTRY )?%?([\w.-]+) \(", text):
                computation = header.group(1)
            continue
        name, shape, kind = match.groups()
        named, called = re.search(r'op_name="([^"]*)"', text), re.search(r"calls=%?([\w.-]+)", text)
        source = _short(named.group(1)) if named else ""
        if source:
            layers[computation][source.rpartition("/")[0]] += 1
        elif called:
            lost[name] = (computation, called.group(1))
        if kind in PRODUCTS:
            products[computation] = PRODUCTS[kind]
        found[name] = (kind, source, re.sub(r"\{[^}]*\}|/\*.*?\*/", "", shape))
    for name, (around, called_one) in lost.items():
        [(layer, _)] = layers[around].most_common(1) or [("", 0)]
        kind, _, shape = found[name]
        if called_one in products:
            found[name] = (kind, f"{layer}/{products[called_one]}", shape)
    return found


def kind_of(name: str) -> str:
    """An operation's kind by its name: "dot" of "dot.12" or of "jit_step: dot.12"."""
    return name if name == NONE else re.sub(r"[.\d]+$", "", name.rpartition(": ")[2]).rsplit("_", 1)[-1]


def _module(hlo: str) -> str:
    return re.sub(r"^HloModule ([\w.-]+).*", r"\1", hlo, flags=re.DOTALL)


def _short(source: str) -> str:
    """Without the function that every operation of a step is inside of; of several sources the first."""
    first, *others = re.sub(r"^jit\(\w+\)/", "", source).split(":")
    return f"{first.replace('/(', '/').removeprefix('(')} and {len(others)} more" if others else first


def _read(data: Any) -> tuple[list[tuple[float, float]], list[Span]]:
    """The steps' windows, and what ran in them."""
    windows, started, ends = [], [], {}
    for plane in data.planes:
        for line in plane.lines:
            for event in line.events:
                if event.name == STEP:
                    windows.append((event.start_ns, event.end_ns))
                elif event.name.startswith("end: "):  # where an operation that began earlier is done, on any thread
                    ends[dict(event.stats).get("_c")] = event.start_ns
                else:
                    stats = dict(event.stats)
                    if "hlo_op" in stats:
                        name = f"{stats.get('hlo_module')}: {stats['hlo_op']}"
                        started.append((event.start_ns, event.end_ns, name, stats.get("_p")))
    spans = []
    for start, end, name, identity in started:
        spans.append(Span(start, max(end, ends.get(identity, end)), name, kind_of(name) in CONTROL))
    return windows, spans
