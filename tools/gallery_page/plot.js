// Curves of several runs over one another, as one SVG; a line follows the pointer or the arrow keys.
"use strict";

// Okabe and Ito's colours (2008), told apart by people who see red and green alike, without those that vanish.
const COLOURS = ["#0072b2", "#e69f00", "#009e73", "#d55e00", "#cc79a7", "#56b4e9"];
const DASHES = ["", "7 3", "2 3", "9 3 2 3"];
const MARGIN = {left: 62, right: 26, top: 10, bottom: 40};

function styleOf(index) {
  return {
    stroke: COLOURS[index % COLOURS.length],
    "stroke-dasharray": DASHES[Math.floor(index / COLOURS.length) % DASHES.length] || null,
  };
}

// A short line in a run's colour and dashes, beside its name.
function swatch(index) {
  return element(
    "svg:svg",
    {class: "swatch", viewBox: "0 0 28 8", width: 28, height: 8, "aria-hidden": "true"},
    element("svg:line", {x1: 0, y1: 4, x2: 28, y2: 4, "stroke-width": 3, ...styleOf(index)}),
  );
}

// {lines: of each run the points {x, y, value}, whose y is null where none is drawn; gone: how many are not above 0}.
function linesOf(runs, state) {
  let gone = 0;
  const lines = runs.map((run, index) => {
    const curve = curveOf(run, state.metric);
    if (!curve) return null;
    const points = curve.values.map((value, i) => {
      const positive = !state.log || value > 0;
      if (value !== null && !positive) gone += 1;
      return {x: curve[state.x][i], y: positive ? value : null, value};
    });
    return {run, index, points, rows: curve.rows};
  });
  return {lines: lines.filter(Boolean), gone};
}

function extent(values) {
  return values.reduce(([low, high], value) => [Math.min(low, value), Math.max(high, value)], [Infinity, -Infinity]);
}

function isDiverged(line) {
  return line.run.state === "diverged";
}

// The range of values: without runs that diverged, where there are others, and on a linear axis without the first
// twentieth of each curve.
function rangeOf(lines, log) {
  const others = lines.filter((line) => !isDiverged(line));
  const values = (others.length ? others : lines).flatMap((line) => {
    const skip = log ? 0 : Math.floor(line.points.length / 20);
    return line.points
      .slice(skip)
      .map((point) => point.y)
      .filter((y) => y !== null);
  });
  if (!values.length) return null;
  const [low, high] = extent(values);
  if (log) return low === high ? [low / 2, high * 2] : [low / 1.1, high * 1.1];
  const margin = 0.05 * (high - low) || 0.05 * Math.abs(high) || 1;
  return [low - margin, high + margin];
}

function linearTicks(low, high, about) {
  const rough = (high - low) / about;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 5, 10].find((one) => one * power >= rough);
  const count = Math.floor(high / step) - Math.ceil(low / step) + 1;
  return Array.from({length: Math.max(0, count)}, (_, i) =>
    Number(((Math.ceil(low / step) + i) * step).toPrecision(12)),
  );
}

function logTicks(low, high) {
  const decades = Math.log10(high / low);
  if (decades < 0.5) return linearTicks(low, high, 4);
  const every = Math.max(1, Math.ceil(decades / 8));
  const found = [];
  for (let power = Math.floor(Math.log10(low)); power <= Math.log10(high); power += every) {
    found.push(...(decades < 2 ? [1, 2, 5] : [1]).map((one) => one * 10 ** power));
  }
  return found.filter((tick) => tick >= low && tick <= high);
}

function pathOf(points, atX, atY) {
  let down = false;
  const parts = [];
  for (const {x, y} of points) {
    if (y !== null) parts.push(`${down ? "L" : "M"}${atX(x).toFixed(1)} ${atY(y).toFixed(1)}`);
    down = y !== null;
  }
  return parts.join("");
}

// Points that no line joins to another would be invisible.
function lonely(points) {
  return points.filter(
    ({y}, i) => y !== null && (points[i - 1]?.y ?? null) === null && (points[i + 1]?.y ?? null) === null,
  );
}

function axesOf({width, height, xRange, yRange, atX, atY}, state) {
  const xTicks = linearTicks(...xRange, width < 500 ? 4 : 8);
  const yTicks = state.log ? logTicks(...yRange) : linearTicks(...yRange, 5);
  const [right, bottom] = [width - MARGIN.right, height - MARGIN.bottom];
  return element(
    "svg:g",
    {class: "axes"},
    yTicks.map((tick) => [
      element("svg:line", {class: "grid", x1: MARGIN.left, x2: right, y1: atY(tick), y2: atY(tick)}),
      element("svg:text", {x: MARGIN.left - 6, y: atY(tick), dy: "0.32em", "text-anchor": "end"}, numberText(tick)),
    ]),
    xTicks.map((tick) =>
      element("svg:text", {x: atX(tick), y: bottom + 17, "text-anchor": "middle"}, numberText(tick)),
    ),
    element("svg:path", {class: "frame", d: `M${MARGIN.left} ${MARGIN.top}V${bottom}H${right}`}),
    element(
      "svg:text",
      {x: right, y: bottom + 34, "text-anchor": "end"},
      state.x === "seconds" ? "seconds of training" : "step",
    ),
  );
}

// Where values lie: the size of the picture, the ranges of both axes, and atX and atY from values to pixels.
function frameOf(lines, yRange, log, width) {
  const height = Math.round(Math.min(420, Math.max(240, 0.45 * width)));
  const xs = distinct(lines.flatMap((line) => line.points.map((point) => point.x))).sort((a, b) => a - b);
  const xRange = xs.length > 1 ? [xs[0], xs.at(-1)] : [xs[0] - 1, xs[0] + 1];
  const [inside, tall] = [width - MARGIN.left - MARGIN.right, height - MARGIN.top - MARGIN.bottom];
  const scaled = log ? Math.log : (value) => value;
  const share = (value, [low, high], scale) => (scale(value) - scale(low)) / (scale(high) - scale(low));
  return {
    width,
    height,
    inside,
    tall,
    xs,
    xRange,
    yRange,
    atX: (x) => MARGIN.left + inside * share(x, xRange, Number),
    atY: (y) => MARGIN.top + tall * (1 - share(y, yRange, scaled)),
  };
}

function curvesOf(lines, {inside, tall, atX, atY}) {
  const whole = {x: MARGIN.left, y: MARGIN.top - 2, width: inside, height: tall + 4};
  const drawn = lines.map((line) => [
    element("svg:path", {class: "curve", d: pathOf(line.points, atX, atY), ...styleOf(line.index)}),
    lonely(line.points).map(({x, y}) =>
      element("svg:circle", {cx: atX(x), cy: atY(y), r: 3, fill: styleOf(line.index).stroke}),
    ),
  ]);
  return [
    element("svg:clipPath", {id: "inside"}, element("svg:rect", whole)),
    element("svg:g", {"clip-path": "url(#inside)"}, drawn),
  ];
}

// {picture, about}: the plot and what is to be said of it; `onread` is told of an x, or null, and the lines.
function plot(runs, state, width, onread) {
  const {lines, gone} = linesOf(runs, state);
  const yRange = rangeOf(lines, state.log);
  if (!yRange) {
    const why = gone
      ? "No value is above 0: a logarithmic axis shows none."
      : "No run has a finite value of this metric.";
    return {picture: element("p", {}, why), about: ""};
  }
  const frame = frameOf(lines, yRange, state.log, width);
  const ends = {y1: MARGIN.top, y2: frame.height - MARGIN.bottom};
  const cursor = element("svg:line", {class: "cursor", ...ends, visibility: "hidden"});
  const label = `${state.metric} of ${counted(lines.length, "run")}; the arrow keys read values`;
  const svg = element(
    "svg:svg",
    {
      class: "plot",
      viewBox: `0 0 ${width} ${frame.height}`,
      width,
      height: frame.height,
      tabindex: "0",
      role: "img",
      "data-key": "plot",
      "aria-label": label,
    },
    axesOf(frame, state),
    curvesOf(lines, frame),
    cursor,
  );
  follow(svg, cursor, frame, lines, onread);
  return {picture: svg, about: aboutPlot(lines, gone, state)};
}

function aboutPlot(lines, gone, state) {
  const said = [];
  const long = lines.some((line) => line.points.length >= 20);
  if (!state.log && long) said.push("The range leaves out the first twentieth of each curve.");
  if (lines.some(isDiverged) && !lines.every(isDiverged))
    said.push("The range is that of the runs that did not diverge.");
  const thinned = lines.some((line) => line.rows > line.points.length);
  if (thinned) said.push(`Curves are thinned to ${GALLERY.points} of their values.`);
  if (gone) said.push(`${gone} values that are not above 0 are not drawn.`);
  if (lines.length > COLOURS.length * DASHES.length) said.push("Colours and dashes repeat.");
  return said.join(" ");
}

// The pointer, or the arrow keys, move a line from value to value of x.
function follow(svg, cursor, {xs, atX}, lines, onread) {
  let at = -1;
  const show = (index) => {
    at = index;
    cursor.setAttribute("visibility", at < 0 ? "hidden" : "visible");
    if (at >= 0) for (const end of ["x1", "x2"]) cursor.setAttribute(end, atX(xs[at]));
    onread(at < 0 ? null : xs[at], lines);
  };
  svg.addEventListener("pointermove", (event) => {
    const box = svg.getBoundingClientRect();
    const x = (event.clientX - box.left) * (svg.viewBox.baseVal.width / box.width);
    show(xs.reduce((best, value, i) => (Math.abs(atX(value) - x) < Math.abs(atX(xs[best]) - x) ? i : best), 0));
  });
  svg.addEventListener("pointerleave", () => show(-1));
  svg.addEventListener("blur", () => show(-1));
  svg.addEventListener("keydown", (event) => {
    const by = {ArrowRight: 1, ArrowLeft: -1}[event.key];
    if (!by) return;
    event.preventDefault();
    show(at < 0 ? (by > 0 ? 0 : xs.length - 1) : Math.min(xs.length - 1, Math.max(0, at + by)));
  });
}

// The value of a line at the last of its points that is not beyond x, in words.
function readingOf(line, x) {
  const point = line.points.filter((one) => one.x <= x).at(-1);
  if (!point) return DASH;
  return point.value === null ? "not finite" : numberText(point.value);
}
