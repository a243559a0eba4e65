// What a run says, as columns: each has a name, a kind, and the value and the text of a run's cell.
"use strict";

const RUNS = typeof GALLERY === "undefined" ? [] : GALLERY.runs;
const SWEEPS = typeof GALLERY === "undefined" ? [] : GALLERY.sweeps;
const DASH = "–";

function numberText(value) {
  if (value === null || value === undefined) return "";
  if (typeof value !== "number") return String(value);
  const size = Math.abs(value);
  if (Number.isInteger(value)) return size >= 1e7 ? value.toExponential(3) : value.toLocaleString("en-US");
  return size >= 1e6 || size < 1e-3 ? value.toExponential(2) : String(Number(value.toPrecision(5)));
}

function counted(number, noun) {
  return `${number.toLocaleString("en-US")} ${noun}${number === 1 ? "" : "s"}`;
}

function durationText(seconds) {
  if (typeof seconds !== "number") return "";
  if (seconds < 60) return `${seconds.toFixed(seconds < 10 ? 1 : 0)} s`;
  const minutes = Math.round(seconds / 60);
  return minutes < 60 ? `${minutes} min` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

function dateText(time) {
  return time ? time.replace("T", "\u00a0").replace(/:\d\dZ$/, "") : "";
}

function stepText(run) {
  const done = numberText(run.step);
  return run.steps === null || run.steps === run.step ? done : `${done} of ${numberText(run.steps)}`;
}

// The axes and values of a metric of a run: {step, seconds, values, rows}, or null where it was not logged.
function curveOf(run, metric) {
  const curves = run.curves;
  if (!curves.metrics || !Object.hasOwn(curves.metrics, metric)) return null;
  const [axis, values, rows] = curves.metrics[metric];
  return {step: curves.axes[axis][0], seconds: curves.axes[axis][1], values, rows};
}

function figureName(figure) {
  return figure.unit ? `${figure.name} (${figure.unit})` : figure.name;
}

function distinct(values) {
  return [...new Set(values)];
}

function columnOfRun(name, title, text = (run) => numberText(run[name]), value = (run) => run[name]) {
  return {id: name, name, title, kind: "run", value, text};
}

function columnOfFigure(id) {
  const of = (run) => run.figures.find((figure) => figureName(figure) === id);
  const first = RUNS.map(of).find(Boolean);
  const on = distinct(
    RUNS.map(of)
      .filter(Boolean)
      .map((figure) => `${figure.measured_on}; ${figure.note}`),
  );
  const better = {maximize: " ↑", minimize: " ↓"}[first.better] || "";
  return {
    id: `figure ${id}`,
    name: first.name,
    title: `${id}${better}`,
    kind: "figure",
    // Figures that were measured on other data, or are other bounds, are not to be compared.
    about: on.length > 1 ? `measured in ${on.length} ways: compare runs to see them` : on[0],
    several: on.length > 1,
    value: (run) => of(run)?.value ?? null,
    text: (run) => of(run)?.text ?? "",
    note: (run) => (of(run) ? `${of(run).measured_on}; ${of(run).note}` : ""),
  };
}

function columnOfMetric(name) {
  const last = (run) => curveOf(run, name)?.values.at(-1);
  return {
    id: `metric ${name}`,
    name,
    title: name,
    kind: "metric",
    about: "last value that was logged",
    value: (run) => last(run) ?? null,
    text: (run) => (last(run) === null ? "not finite" : numberText(last(run))),
  };
}

function columnOfField(name) {
  return {
    id: `field ${name}`,
    name,
    title: name,
    kind: "config",
    value: (run) => run.config[name],
    text: (run) => fieldText(run, name),
  };
}

function fieldText(run, name) {
  if (!Object.hasOwn(run.config, name)) return "";
  const value = run.config[name];
  return value === null ? "none" : value === "" ? "()" : String(value);
}

function allColumns() {
  const figures = distinct(RUNS.flatMap((run) => run.figures.map(figureName)));
  const metrics = distinct(RUNS.flatMap((run) => Object.keys(run.curves.metrics || {})));
  const fields = distinct(RUNS.flatMap((run) => Object.keys(run.config)));
  return [
    columnOfRun(
      "run",
      "run",
      (run) => run.id,
      (run) => run.id,
    ),
    columnOfRun("picture", "picture", () => ""),
    columnOfRun("experiment", "experiment"),
    columnOfRun("variant", "variant"),
    columnOfRun("sweep", "sweep"),
    columnOfRun("row", "row of the sweep"),
    columnOfRun("seed", "seed"),
    columnOfRun("state", "state"),
    columnOfRun(
      "errors",
      "errors",
      (run) => run.errors.join("\n"),
      (run) => run.errors.join("\n"),
    ),
    columnOfRun("step", "step", stepText),
    ...figures.map(columnOfFigure),
    ...metrics.map(columnOfMetric),
    ...fields.filter((name) => name !== "seed").map(columnOfField),
    columnOfRun("seconds", "duration", (run) => durationText(run.seconds)),
    columnOfRun("started", "started (UTC)", (run) => dateText(run.started)),
    columnOfRun("changed", "last logged (UTC)", (run) => dateText(run.changed)),
  ];
}

const COLUMNS = allColumns();

// Figures of which one way is better, or all where there are none.
function judged(figures) {
  const some = figures.filter((figure) => figure.better);
  return some.length ? some : figures;
}

// Shown unless others are chosen: of every run the first two figures of which one way is better.
function usualColumns() {
  const firsts = new Set(
    RUNS.flatMap((run) =>
      judged(run.figures)
        .slice(0, 2)
        .map((figure) => `figure ${figureName(figure)}`),
    ),
  );
  const usual = [
    "picture",
    "run",
    "experiment",
    "variant",
    "row",
    "seed",
    "state",
    "errors",
    "step",
    "seconds",
    "started",
  ];
  return COLUMNS.filter((column) => usual.includes(column.id) || firsts.has(column.id)).map((column) => column.id);
}

// Numbers by size, texts with their numbers by size, what is missing last whichever way it goes.
function compareBy(column, down) {
  return (one, other) => {
    const [a, b] = [column.value(one), column.value(other)];
    const [lackA, lackB] = [a, b].map((value) => value === null || value === undefined || value === "");
    if (lackA || lackB) return lackA - lackB;
    const order =
      typeof a === "number" && typeof b === "number"
        ? a - b
        : String(a).localeCompare(String(b), "en", {numeric: true});
    return down ? -order : order;
  };
}

function isDuring(file) {
  return /^step_\d+$/.test(file.name);
}

// The picture that stands for a run: of that name; else its samples, the first at its end, or the last during training.
function pictureOf(run, name = "") {
  const some = run.files;
  if (name) return some.find((file) => file.name === name);
  return some.find((file) => file.name === "samples") ?? some.find((file) => !isDuring(file)) ?? some.at(-1);
}

// A picture that is loaded once it is near the screen, and opens alone.
function pictureElement(run, file, side) {
  const scale = side ? Math.min(1, side / Math.max(file.width, file.height)) : 1;
  const image = element("img", {
    loading: "lazy", // before the source, or it would be loaded at once
    src: `files/${file.file}`,
    alt: `${file.name} of ${run.id}`,
    decoding: "async",
    width: Math.max(1, Math.round(file.width * scale)),
    height: Math.max(1, Math.round(file.height * scale)),
  });
  return element("a", {href: `files/${file.file}`, target: "_blank", rel: "noopener"}, image);
}
