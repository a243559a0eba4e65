// The runs as a table or as pictures, and the choice of columns.
"use strict";

// Whether a column says nothing of these runs: its cells are empty, or those of the one before it.
function isEmpty(column, runs) {
  if (column.id === "picture") return !runs.some((run) => pictureOf(run));
  if (column.id === "row") return !runs.some((run) => run.row && run.row !== run.variant);
  return !runs.some((run) => column.text(run) !== "");
}

function isNumeric(column, runs) {
  return ["step", "seconds"].includes(column.id) || runs.some((run) => typeof column.value(run) === "number");
}

function shownColumns(state, runs) {
  const chosen = state.columns ?? usualColumns();
  return COLUMNS.filter((column) => column.id === "run" || (chosen.includes(column.id) && !isEmpty(column, runs)));
}

function headingOf(column, state, actions) {
  if (column.id === "picture") return element("th", {scope: "col"}, "picture");
  const sorted = state.sort === column.id ? (state.down ? "descending" : "ascending") : null;
  const arrow = {ascending: " ▲", descending: " ▼"}[sorted] ?? "";
  const button = element(
    "button",
    {
      type: "button",
      "data-key": `sort ${column.id}`,
      title: column.about,
      onclick: () => actions.sort(column.id),
    },
    breakable(column.title),
    column.several ? " *" : "",
    element("span", {"aria-hidden": "true"}, arrow),
  );
  return element("th", {scope: "col", "aria-sort": sorted}, button);
}

function tickOf(run, state, actions) {
  return element("input", {
    type: "checkbox",
    "data-key": `tick ${run.id}`,
    checked: state.runs.includes(run.id),
    onchange: () => actions.tick(run.id),
  });
}

function cellOf(column, run, state, actions, numeric) {
  if (column.id === "run") {
    return element(
      "th",
      {scope: "row"},
      element("label", {class: "tick"}, tickOf(run, state, actions), element("span", {}, breakable(run.id))),
    );
  }
  if (column.id === "picture") {
    const file = pictureOf(run);
    return element("td", {class: "thumb"}, file ? pictureElement(run, file, 56) : "");
  }
  if (column.id === "state") {
    return element("td", {}, stateElement(run));
  }
  const text = column.text(run);
  if (column.id === "errors")
    return element("td", {class: "errors"}, element("div", {title: text || null}, breakable(text)));
  return element(
    "td",
    {
      class: numeric ? "n" : ["started", "changed"].includes(column.id) ? "nowrap" : null,
      title: column.note?.(run) || null,
    },
    numeric ? text : breakable(text),
  );
}

function stateElement(run) {
  const mark = run.errors.length && run.state === "finished" ? " (with errors)" : "";
  const kind = mark ? "bad" : ({finished: "good", unfinished: ""}[run.state] ?? "bad");
  return element("span", {class: `state ${kind}`}, run.state + mark);
}

// A box that ticks all shown runs, or none of them; and the way down to those that are ticked.
function tickAll(runs, state, actions) {
  const all = runs.length > 0 && runs.every((run) => state.runs.includes(run.id));
  const box = element("input", {
    type: "checkbox",
    "data-key": "tick all",
    checked: all,
    onchange: () =>
      actions.tickAll(
        runs.map((run) => run.id),
        !all,
      ),
  });
  const down = element(
    "button",
    {type: "button", "data-key": "go down", onclick: () => actions.goDown()},
    `go to the comparison (${state.runs.length})`,
  );
  return element(
    "div",
    {class: "controls small"},
    element("label", {class: "tick"}, box, ` compare ${runs.length === 1 ? "this run" : `all ${runs.length}`}`),
    state.runs.length ? down : element("span", {}, "Tick runs to compare them below the table."),
  );
}

function tableOf(runs, state, actions) {
  const columns = shownColumns(state, runs);
  const numeric = new Map(columns.map((column) => [column, isNumeric(column, runs)]));
  const head = element(
    "tr",
    {},
    columns.map((column) => headingOf(column, state, actions)),
  );
  const rows = runs.map((run) =>
    element(
      "tr",
      {class: state.runs.includes(run.id) ? "ticked" : null},
      columns.map((column) => cellOf(column, run, state, actions, numeric.get(column))),
    ),
  );
  const several = columns.some((column) => column.several);
  return [
    element(
      "div",
      {class: "scroll tall", tabindex: "0", role: "region", "aria-label": "Table of runs", "data-key": "table"},
      element("table", {class: "runs"}, element("thead", {}, head), element("tbody", {}, rows)),
    ),
    several
      ? element(
          "p",
          {class: "small"},
          "* measured on other data, or in another way, in some runs: a cell's hint and the comparison say which.",
        )
      : null,
  ];
}

function cardsOf(runs, state, actions) {
  return element(
    "div",
    {class: "cards"},
    runs.map((run) => {
      const file = pictureOf(run);
      const figure = run.figures[0];
      return element(
        "figure",
        {class: state.runs.includes(run.id) ? "ticked" : null},
        file ? pictureElement(run, file, 240) : element("div", {class: "nothing"}, "no picture"),
        element(
          "figcaption",
          {},
          element("label", {class: "tick"}, tickOf(run, state, actions), element("span", {}, breakable(run.id))),
          element("div", {}, stateElement(run), figure ? ` ${figureName(figure)}: ${figure.text}` : ""),
        ),
      );
    }),
  );
}

function renderRuns(place, runs, state, actions) {
  const before = place.querySelector(".tall");
  const [left, top] = [before?.scrollLeft ?? 0, before?.scrollTop ?? 0];
  place.replaceChildren(
    ...[
      runs.length ? tickAll(runs, state, actions) : null,
      ...(state.view === "pictures" ? [cardsOf(runs, state, actions)] : tableOf(runs, state, actions)),
    ].filter(Boolean),
  );
  place.querySelector(".tall")?.scrollTo(left, top);
}

const KINDS = {run: "Of the run", figure: "Figures", metric: "Metrics: the last value", config: "Fields of the config"};

function renderChoice(place, state, actions) {
  const chosen = state.columns ?? usualColumns();
  const groups = Object.entries(KINDS).map(([kind, title]) => {
    const own = COLUMNS.filter((column) => column.kind === kind && column.id !== "run");
    if (!own.length) return null;
    return element(
      "fieldset",
      {},
      element("legend", {}, title),
      own.map((column) =>
        element(
          "label",
          {},
          element("input", {
            type: "checkbox",
            "data-key": `column ${column.id}`,
            checked: chosen.includes(column.id),
            onchange: () => actions.column(column.id),
          }),
          ` ${column.title}`,
        ),
      ),
    );
  });
  const usual = element(
    "button",
    {type: "button", "data-key": "usual columns", onclick: () => actions.usualColumns()},
    "the usual ones",
  );
  place.replaceChildren(
    element("p", {class: "small"}, "A column without a value in any of the shown runs is left out. ", usual),
    ...groups.filter(Boolean),
  );
}
