// The ticked runs: curves over one another, pictures side by side, and what differs between them.
"use strict";

// The metrics that were logged: first those of the validation split, last those that no run has twice.
function metricsOf(runs) {
  const names = distinct(runs.flatMap((run) => Object.keys(run.curves.metrics || {})));
  const single = (name) => !runs.some((run) => curveOf(run, name)?.values.length > 1);
  const rank = (name) => 3 * single(name) + (name.startsWith("validation/") ? 0 : name === "train/loss" ? 1 : 2);
  return names.sort((a, b) => rank(a) - rank(b) || a.localeCompare(b));
}

// A line of the legend for each run; the values behind the names follow the pointer.
function legendOf(runs, state, actions) {
  const values = runs.map(() => element("span", {class: "value"}));
  const items = runs.map((run, index) => {
    const out = button(`untick ${run.id}`, () => actions.tick(run.id), "×");
    out.setAttribute("aria-label", `Take ${run.id} out of the comparison`);
    return element("li", {}, swatch(index), element("span", {class: "name"}, breakable(run.id)), values[index], out);
  });
  const caption = element("p", {class: "small", "aria-live": "polite"});
  const read = (x, lines) => {
    const at = x === null ? "last value" : `value at ${state.x} ${numberText(x)}`;
    caption.textContent = `Behind a run: its ${at}.`;
    runs.forEach((run, index) => {
      const line = lines.find((one) => one.index === index);
      values[index].textContent = line ? readingOf(line, x ?? Infinity) : "not logged";
    });
  };
  return {legend: element("div", {}, element("ul", {class: "legend"}, items), caption), read};
}

const AXES = [
  ["step", "steps"],
  ["seconds", "seconds of training"],
];

function curvesPart(runs, state, actions, width) {
  const names = metricsOf(runs);
  const {legend, read} = legendOf(runs, state, actions);
  if (!names.length) return [legend, element("p", {}, "These runs have logged nothing.")];
  const shown = {...state, metric: names.includes(state.metric) ? state.metric : names[0]};
  const drawn = plot(runs, shown, width, read);
  read(null, linesOf(runs, shown).lines);
  const metrics = names.map((name) => [name, name]);
  return [
    element("h3", {}, "Curves"),
    controls(
      choice("metric", "Metric", metrics, shown.metric, (value) => actions.set({metric: value})),
      choice("x", "against", AXES, shown.x, (value) => actions.set({x: value})),
      checkbox("log", state.log, () => actions.set({log: !state.log}), "logarithmic axis"),
    ),
    drawn.picture,
    legend,
    small(drawn.about),
  ];
}

const DURING = "during training";

// Which pictures are shown: all that were drawn at the end, those of one name, or those during training.
function pictureChoices(runs) {
  const names = distinct(runs.flatMap((run) => run.files.filter((file) => !isDuring(file)).map((file) => file.name)));
  const during = runs.some((run) => run.files.some(isDuring));
  return [["", "all at the end"], ...names.map((name) => [name, name]), ...(during ? [[DURING, DURING]] : [])];
}

function filesChosen(run, choice) {
  if (choice === DURING) return run.files.filter(isDuring);
  return run.files.filter((file) => (choice ? file.name === choice : !isDuring(file)));
}

// The pictures of one name, a run's beside another's.
function picturesOf(runs, name, titled) {
  const each = runs.flatMap((run, index) =>
    filesChosen(run, name).map((file) => {
      const step = isDuring(file) ? `, ${file.name.replace(/^step_0*(?=\d)/, "step ")}` : "";
      const caption = element("figcaption", {}, swatch(index), " ", breakable(run.id), step);
      return element("figure", {}, pictureElement(run, file, 360), caption);
    }),
  );
  return element("div", {}, titled ? element("h4", {}, name) : null, element("div", {class: "cards"}, each));
}

function picturesPart(runs, state, actions) {
  if (!runs.some((run) => run.files.length)) return [];
  const choices = pictureChoices(runs);
  const names = choices.map(([name]) => name);
  const chosen = names.includes(state.pictures) ? state.pictures : "";
  const rows = chosen ? [chosen] : names.filter((name) => name && name !== DURING);
  return [
    element("h3", {}, "Pictures"),
    controls(choice("pictures", "Show", choices, chosen, (value) => actions.set({pictures: value}))),
    ...rows.map((row) => picturesOf(runs, row, rows.length > 1)),
  ];
}

// {title, cells, about, differs}: a line of the table; runs whose configs cannot be read differ in nothing.
function lineOf(title, runs, text, about = null) {
  const cells = runs.map(text);
  const known = cells.filter((_, index) => runs[index].state !== "unreadable");
  return {title, cells, about, differs: distinct(known).length > 1};
}

function runLines(runs) {
  const fact = (name) => (run) => numberText(run.facts[name]);
  const lines = [
    lineOf("state", runs, (run) => run.state),
    lineOf("errors", runs, (run) => run.errors.join("\n")),
    lineOf("notes", runs, (run) => run.notes.join("\n")),
    lineOf("step", runs, stepText),
    lineOf("duration", runs, (run) => durationText(run.seconds)),
    lineOf("started (UTC)", runs, (run) => dateText(run.started)),
    lineOf("last logged (UTC)", runs, (run) => dateText(run.changed)),
    ...["command", "commit", "devices", "versions", "starts"].map((name) => lineOf(name, runs, fact(name))),
  ];
  return lines.filter((line) => line.cells.some(Boolean));
}

function figureLines(runs) {
  const key = (figure) => JSON.stringify([figureName(figure), figure.measured_on, figure.note]);
  const kinds = new Map(runs.flatMap((run) => run.figures.map((figure) => [key(figure), figure])));
  return [...kinds].map(([id, figure]) =>
    lineOf(
      figureName(figure),
      runs,
      (run) => run.figures.find((one) => key(one) === id)?.text ?? "",
      [
        figure.measured_on,
        figure.note,
        figure.better === "maximize" ? "higher is better" : figure.better === "minimize" ? "lower is better" : "",
      ]
        .filter(Boolean)
        .join("; "),
    ),
  );
}

function fieldLines(runs, all) {
  const names = distinct(runs.flatMap((run) => Object.keys(run.config)));
  const lines = names
    .filter((name) => all || !GALLERY.incidental.includes(name))
    .map((name) => lineOf(name, runs, (run) => fieldText(run, name)));
  return all ? lines : lines.filter((line) => line.differs);
}

function groupOf(title, lines, count, marked) {
  if (!lines.length) return [];
  const head = element(
    "tr",
    {},
    element("th", {class: "group", colspan: count + 1, scope: "colgroup"}, element("span", {}, title)),
  );
  const rows = lines.map((line) =>
    element(
      "tr",
      {class: marked && line.differs ? "differs" : null},
      element(
        "th",
        {scope: "row"},
        breakable(line.title),
        marked && line.differs ? element("span", {title: "differs", "aria-label": "differs"}, " ≠") : null,
        line.about ? element("div", {class: "small"}, breakable(line.about)) : null,
      ),
      line.cells.map((cell) => element("td", {}, breakable(cell))),
    ),
  );
  return [element("tbody", {}, head, rows)];
}

function differencesPart(runs, state, actions) {
  const all = state.all || runs.length === 1;
  const fields = fieldLines(runs, all);
  const names = runs.map((run, index) => [swatch(index), element("div", {}, breakable(run.id))]);
  const text = "all fields of the configs, those that differ marked ≠";
  const same = !fields.length && runs.every((run) => run.state !== "unreadable");
  return [
    element("h3", {}, "Side by side"),
    runs.length > 1 ? controls(checkbox("all", state.all, () => actions.set({all: !state.all}), text)) : null,
    tableIn(
      "Runs side by side",
      "side",
      headings("", ...names),
      groupOf("Run", runLines(runs), runs.length, false),
      groupOf("Figures", figureLines(runs), runs.length, false),
      groupOf(all ? "Config" : "Config: the fields that differ", fields, runs.length, runs.length > 1),
    ),
    same ? small("Their configs are the same, but for fields that change no result.") : null,
  ];
}

function renderComparison(place, runs, state, actions) {
  const title = runs.length === 1 ? "One run " : `${runs.length} runs compared `;
  const clear = button("clear", () => actions.set({runs: []}), "untick all");
  const parts = [
    element("h2", {}, title, clear),
    ...curvesPart(runs, state, actions, Math.max(280, place.clientWidth)),
    ...picturesPart(runs, state, actions),
    ...differencesPart(runs, state, actions),
  ];
  place.replaceChildren(...(runs.length ? parts.filter(Boolean) : []));
}
