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
  const mark = element("span", {"aria-hidden": "true"}, arrow);
  const words = [breakable(column.title), column.several ? " *" : "", mark];
  const sort = button(`sort ${column.id}`, () => actions.sort(column.id), words);
  if (column.about) sort.title = column.about;
  return element("th", {scope: "col", "aria-sort": sorted}, sort);
}

function tickOf(run, state, actions) {
  return checkbox(`tick ${run.id}`, state.runs.includes(run.id), () => actions.tick(run.id), breakable(run.id));
}

const DATES = ["started", "changed"];

function cellOf(column, run, state, actions, numeric) {
  const text = column.text(run);
  const file = column.id === "picture" ? pictureOf(run) : null;
  switch (column.id) {
    case "run":
      return element("th", {scope: "row"}, tickOf(run, state, actions));
    case "picture":
      return element("td", {class: "thumb"}, file ? pictureElement(run, file, 56) : "");
    case "state":
      return element("td", {}, stateElement(run));
    case "errors":
      return element("td", {class: "errors"}, element("div", {title: text || null}, breakable(text)));
    default: {
      const kind = numeric ? "n" : DATES.includes(column.id) ? "nowrap" : null;
      return element("td", {class: kind, title: column.note?.(run) || null}, numeric ? text : breakable(text));
    }
  }
}

function stateElement(run) {
  const mark = run.errors.length && run.state === "finished" ? " (with errors)" : "";
  const kind = mark ? "bad" : ({finished: "good", unfinished: ""}[run.state] ?? "bad");
  return element("span", {class: `state ${kind}`}, run.state + mark);
}

// A box that ticks all shown runs, or none of them; and the way down to those that are ticked.
function tickAll(runs, state, actions) {
  const ids = runs.map((run) => run.id);
  const all = ids.every((id) => state.runs.includes(id));
  const words = ids.length === 1 ? "compare this run" : `compare all ${ids.length}`;
  const down = button("go down", () => actions.goDown(), `go to the comparison (${state.runs.length})`);
  return controls(
    checkbox("tick all", all, () => actions.tickAll(ids, !all), words),
    state.runs.length ? down : element("span", {class: "small"}, "Tick runs to compare them below."),
  );
}

function tableOf(runs, state, actions) {
  const columns = shownColumns(state, runs);
  const numeric = columns.map((column) => isNumeric(column, runs));
  const head = columns.map((column) => headingOf(column, state, actions));
  const rows = runs.map((run) => {
    const cells = columns.map((column, index) => cellOf(column, run, state, actions, numeric[index]));
    return element("tr", {class: state.runs.includes(run.id) ? "ticked" : null}, cells);
  });
  const star = "* measured on other data, or in another way, in some runs: a cell's hint and the comparison say which.";
  return [
    tableIn("Table of runs", "runs", element("tr", {}, head), element("tbody", {}, rows)),
    columns.some((column) => column.several) ? small(star) : null,
  ];
}

function cardOf(run, state, actions) {
  const file = pictureOf(run);
  const figure = judged(run.figures)[0];
  const words = [stateElement(run), figure ? ` ${figureName(figure)}: ${figure.text}` : ""];
  return element(
    "figure",
    {class: state.runs.includes(run.id) ? "ticked" : null},
    file ? pictureElement(run, file, 240) : element("div", {class: "nothing"}, "no picture"),
    element("figcaption", {}, tickOf(run, state, actions), element("div", {}, words)),
  );
}

function renderRuns(place, runs, state, actions) {
  const before = place.querySelector(".scroll");
  const [left, top] = [before?.scrollLeft ?? 0, before?.scrollTop ?? 0];
  const cards = () => [
    element(
      "div",
      {class: "cards"},
      runs.map((run) => cardOf(run, state, actions)),
    ),
  ];
  const shown = state.view === "pictures" ? cards() : tableOf(runs, state, actions);
  place.replaceChildren(...[runs.length ? tickAll(runs, state, actions) : null, ...shown].filter(Boolean));
  place.querySelector(".scroll")?.scrollTo(left, top);
}

const KINDS = {run: "Of the run", figure: "Figures", metric: "Metrics: the last value", config: "Fields of the config"};

function renderChoice(place, state, actions) {
  const chosen = state.columns ?? usualColumns();
  const groups = Object.entries(KINDS).map(([kind, title]) => {
    const own = COLUMNS.filter((column) => column.kind === kind && column.id !== "run");
    const boxes = own.map(({id, title: words}) =>
      checkbox(`column ${id}`, chosen.includes(id), () => actions.column(id), words),
    );
    return own.length ? element("fieldset", {}, element("legend", {}, title), boxes) : null;
  });
  const usual = button("usual columns", () => actions.usualColumns(), "the usual ones");
  const words = small("A column without a value in any of the shown runs is left out. ", usual);
  place.replaceChildren(words, ...groups.filter(Boolean));
}
