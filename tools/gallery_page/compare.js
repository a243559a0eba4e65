// The ticked runs: curves over one another, pictures side by side, and what differs between them.
"use strict";

// The metrics that were logged: first those of the validation split, last those that no run has twice.
function metricsOf(runs) {
  const names = distinct(runs.flatMap((run) => Object.keys(run.curves.metrics || {})));
  const single = (name) => !runs.some((run) => curveOf(run, name)?.values.length > 1);
  const rank = (name) => 3 * single(name) + (name.startsWith("validation/") ? 0 : name === "train/loss" ? 1 : 2);
  return names.sort((a, b) => rank(a) - rank(b) || a.localeCompare(b));
}

function choiceOf(label, key, options, value, onchange) {
  return element(
    "label",
    {},
    `${label} `,
    element(
      "select",
      {"data-key": key, onchange: (event) => onchange(event.target.value)},
      options.map(([name, title]) => element("option", {value: name, selected: name === value}, title)),
    ),
  );
}

// A line of the legend for each run; the values behind the names follow the pointer.
function legendOf(runs, state, actions) {
  const values = runs.map(() => element("span", {class: "value"}));
  const items = runs.map((run, index) =>
    element(
      "li",
      {},
      swatch(index),
      element("span", {class: "name"}, breakable(run.id)),
      values[index],
      element(
        "button",
        {
          type: "button",
          "data-key": `untick ${run.id}`,
          "aria-label": `Take ${run.id} out of the comparison`,
          onclick: () => actions.tick(run.id),
        },
        "×",
      ),
    ),
  );
  const caption = element("p", {class: "small", "aria-live": "polite"});
  const read = (x, lines) => {
    caption.textContent =
      x === null ? "Behind a run: its last value." : `Behind a run: its value at ${state.x} ${numberText(x)}.`;
    runs.forEach((run, index) => {
      const line = lines.find((one) => one.index === index);
      values[index].textContent = line ? readingOf(line, x ?? Infinity) : "not logged";
    });
  };
  return {legend: element("div", {}, element("ul", {class: "legend"}, items), caption), read};
}

function curvesPart(runs, state, actions, width) {
  const names = metricsOf(runs);
  const {legend, read} = legendOf(runs, state, actions);
  if (!names.length) return [legend, element("p", {}, "These runs have logged nothing.")];
  const shown = {...state, metric: names.includes(state.metric) ? state.metric : names[0]};
  const drawn = plot(runs, shown, width, read);
  read(null, linesOf(runs, shown).lines);
  return [
    element("h3", {}, "Curves"),
    element(
      "div",
      {class: "controls"},
      choiceOf(
        "Metric",
        "metric",
        names.map((name) => [name, name]),
        shown.metric,
        (value) => actions.set({metric: value}),
      ),
      choiceOf(
        "against",
        "x",
        [
          ["step", "steps"],
          ["seconds", "seconds of training"],
        ],
        shown.x,
        (value) => actions.set({x: value}),
      ),
      element(
        "label",
        {},
        element("input", {
          type: "checkbox",
          "data-key": "log",
          checked: state.log,
          onchange: () => actions.set({log: !state.log}),
        }),
        " logarithmic axis",
      ),
    ),
    drawn.picture,
    legend,
    element("p", {class: "small"}, drawn.about),
  ];
}

// Which pictures are shown: all that were drawn at the end, those of one name, or those during training.
function pictureChoices(runs) {
  const names = distinct(runs.flatMap((run) => run.files.filter((file) => !isDuring(file)).map((file) => file.name)));
  const during = runs.some((run) => run.files.some(isDuring));
  return [
    ["", "all at the end"],
    ...names.map((name) => [name, name]),
    ...(during ? [["during training", "during training"]] : []),
  ];
}

function filesChosen(run, choice) {
  if (choice === "during training") return run.files.filter(isDuring);
  return run.files.filter((file) => (choice ? file.name === choice : !isDuring(file)));
}

function picturesPart(runs, state, actions) {
  const choices = pictureChoices(runs);
  if (!runs.some((run) => run.files.length)) return [];
  const chosen = choices.some(([name]) => name === state.pictures) ? state.pictures : "";
  const rows =
    chosen === "" ? choices.map(([name]) => name).filter((name) => name && name !== "during training") : [chosen];
  return [
    element("h3", {}, "Pictures"),
    element(
      "div",
      {class: "controls"},
      choiceOf("Show", "pictures", choices, chosen, (value) => actions.set({pictures: value})),
    ),
    ...rows.map((row) =>
      element(
        "div",
        {},
        rows.length > 1 ? element("h4", {}, row) : null,
        element(
          "div",
          {class: "cards"},
          runs.flatMap((run, index) =>
            filesChosen(run, row).map((file) =>
              element(
                "figure",
                {},
                pictureElement(run, file, 360),
                element(
                  "figcaption",
                  {},
                  swatch(index),
                  " ",
                  breakable(run.id),
                  row === "during training" ? `, ${file.name.replace(/^step_0*(?=\d)/, "step ")}` : "",
                ),
              ),
            ),
          ),
        ),
      ),
    ),
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
  const head = element(
    "tr",
    {},
    element("td", {}),
    runs.map((run, index) => element("th", {scope: "col"}, swatch(index), element("div", {}, breakable(run.id)))),
  );
  return [
    element("h3", {}, "Side by side"),
    runs.length > 1
      ? element(
          "div",
          {class: "controls"},
          element(
            "label",
            {},
            element("input", {
              type: "checkbox",
              "data-key": "all",
              checked: state.all,
              onchange: () => actions.set({all: !state.all}),
            }),
            " all fields of the configs, those that differ marked ≠",
          ),
        )
      : null,
    element(
      "div",
      {class: "scroll", tabindex: "0", role: "region", "aria-label": "Runs side by side"},
      element(
        "table",
        {class: "side"},
        element("thead", {}, head),
        groupOf("Run", runLines(runs), runs.length, false),
        groupOf("Figures", figureLines(runs), runs.length, false),
        groupOf(all ? "Config" : "Config: the fields that differ", fields, runs.length, runs.length > 1),
      ),
    ),
    fields.length || runs.some((run) => run.state === "unreadable")
      ? null
      : element("p", {class: "small"}, "Their configs are the same, but for fields that change no result."),
  ];
}

function renderComparison(place, runs, state, actions) {
  if (!runs.length) {
    place.replaceChildren();
    return;
  }
  const clear = element(
    "button",
    {type: "button", "data-key": "clear", onclick: () => actions.set({runs: []})},
    "untick all",
  );
  place.replaceChildren(
    ...[
      element("h2", {}, runs.length === 1 ? "One run " : `${runs.length} runs compared `, clear),
      ...curvesPart(runs, state, actions, Math.max(280, place.clientWidth)),
      ...picturesPart(runs, state, actions),
      ...differencesPart(runs, state, actions),
    ].filter(Boolean),
  );
}

function renderSweeps(place, actions) {
  if (!SWEEPS.length) return;
  const names = ["sweep", "experiment", "rows × seeds", "runs", "budget", "report"];
  const rows = SWEEPS.map((sweep) => {
    const own = RUNS.filter((run) => run.sweep === sweep.id);
    const states = distinct(own.map((run) => run.state)).map(
      (state) => `${own.filter((run) => run.state === state).length} ${state}`,
    );
    const begun = `${own.length} of ${sweep.rows * sweep.seeds} begun`;
    const show = element(
      "button",
      {type: "button", onclick: () => actions.filter(`sweep="${sweep.id}"`)},
      breakable(sweep.id),
    );
    return element(
      "tr",
      {},
      element("th", {scope: "row"}, show, sweep.complete ? null : " (not complete)"),
      [sweep.experiment, `${sweep.rows} × ${sweep.seeds}`, [begun, ...states].join(", "), sweep.budget].map((text) =>
        element("td", {}, String(text)),
      ),
      element(
        "td",
        {},
        sweep.files.map((file) => element("a", {href: `files/${file.file}`}, file.name)),
        sweep.errors.join("\n"),
      ),
    );
  });
  place.replaceChildren(
    element("h2", {}, "Sweeps"),
    element(
      "p",
      {class: "small"},
      "A sweep's name shows its runs alone; its report has intervals over seeds and tests.",
    ),
    element(
      "div",
      {class: "scroll", tabindex: "0", role: "region", "aria-label": "Table of sweeps"},
      element(
        "table",
        {class: "sweeps"},
        element(
          "thead",
          {},
          element(
            "tr",
            {},
            names.map((name) => element("th", {scope: "col"}, name)),
          ),
        ),
        element("tbody", {}, rows),
      ),
    ),
  );
}
