// The page's state, which stands in the address behind #, so that a view can be sent; and what happens when it changes.
"use strict";

const START = {
  filter: "",
  sort: "run",
  down: false,
  view: "table",
  columns: null,
  runs: [],
  metric: "",
  x: "step",
  log: false,
  pictures: "",
  all: false,
};
let state = {...START};
let drawn = "";

function stateOfAddress() {
  const words = new URLSearchParams(location.hash.slice(1));
  const text = (name) => words.get(name) ?? START[name];
  return {
    filter: text("filter"),
    sort: text("sort"),
    down: words.has("down"),
    view: text("view") === "pictures" ? "pictures" : "table",
    columns: words.has("columns") ? words.getAll("columns") : null,
    runs: words.getAll("runs").filter((id) => RUNS.some((run) => run.id === id)),
    metric: text("metric"),
    x: text("x") === "seconds" ? "seconds" : "step",
    log: words.has("log"),
    pictures: text("pictures"),
    all: words.has("all"),
  };
}

function addressOfState() {
  const words = new URLSearchParams();
  for (const [name, value] of Object.entries(state)) {
    if (name === "columns" && value?.length === 0)
      words.append(name, ""); // none, which is not the usual ones
    else if (Array.isArray(value)) for (const one of value) words.append(name, one);
    else if (value === true) words.append(name, "1");
    else if (value !== START[name] && value) words.append(name, value);
  }
  return `#${words.toString().replaceAll("%2F", "/")}`;
}

const actions = {
  set(some) {
    state = {...state, ...some};
    render();
    history.replaceState(null, "", addressOfState()); // last, as browsers refuse it where it is asked for too often
  },
  sort(id) {
    actions.set(state.sort === id ? {down: !state.down} : {sort: id, down: false});
  },
  tick(id) {
    actions.set({runs: state.runs.includes(id) ? state.runs.filter((one) => one !== id) : [...state.runs, id]});
  },
  tickAll(ids, on) {
    actions.set({runs: on ? distinct([...state.runs, ...ids]) : state.runs.filter((one) => !ids.includes(one))});
  },
  column(id) {
    const chosen = state.columns ?? usualColumns();
    actions.set({columns: chosen.includes(id) ? chosen.filter((one) => one !== id) : [...chosen, id]});
  },
  goDown() {
    document.getElementById("comparison").scrollIntoView();
    document.querySelector('[data-key="clear"]')?.focus({preventScroll: true});
  },
  usualColumns() {
    actions.set({columns: null});
  },
  filter(text) {
    actions.set({filter: text});
    document.getElementById("filter").focus();
  },
};

// Draw all that the state says; the element that had the focus has it again, although it is a new one.
function render() {
  const key = document.activeElement?.dataset?.key;
  const {runs, problem} = filtered(state.filter);
  const column = COLUMNS.find((one) => one.id === state.sort) ?? COLUMNS.find((one) => one.id === "run");
  const shown = [...runs].sort(compareBy(column, state.down));
  const input = document.getElementById("filter");
  if (input.value !== state.filter) input.value = state.filter;
  input.setAttribute("aria-invalid", problem !== "");
  document.querySelector(`input[name=view][value=${state.view}]`).checked = true;
  document.getElementById("count").textContent = problem || `${shown.length} of ${counted(RUNS.length, "run")}`;
  renderRuns(document.getElementById("runs"), shown, state, actions);
  renderChoice(document.getElementById("choice"), state, actions);
  renderChosen(document.getElementById("comparison"));
  if (key) document.querySelector(`[data-key="${CSS.escape(key)}"]`)?.focus({preventScroll: true});
}

// The comparison is drawn anew only where it changes: typing in the filter does not load its pictures again.
function renderChosen(place) {
  const {runs, metric, x, log, pictures, all} = state;
  const now = JSON.stringify([runs, metric, x, log, pictures, all, place.clientWidth]);
  if (now === drawn) return;
  drawn = now;
  renderComparison(place, runs.map((id) => RUNS.find((run) => run.id === id)).filter(Boolean), state, actions);
}

function begin() {
  if (typeof GALLERY === "undefined") {
    document.getElementById("about").textContent = "This gallery is not complete: run python -m tools.gallery again.";
    return;
  }
  document.title = `Gallery of ${GALLERY.folder}`;
  document.getElementById("title").textContent = document.title;
  document.getElementById("about").textContent =
    `${counted(RUNS.length, "run")} and ${counted(SWEEPS.length, "sweep")}, as they were at ${dateText(GALLERY.made)} UTC.`;
  document.getElementById("filter").addEventListener("input", (event) => actions.set({filter: event.target.value}));
  for (const radio of document.querySelectorAll("input[name=view]"))
    radio.addEventListener("change", () => actions.set({view: radio.value}));
  addEventListener("hashchange", () => {
    state = stateOfAddress();
    render();
  });
  addEventListener("resize", () => renderChosen(document.getElementById("comparison")));
  state = stateOfAddress();
  renderSweeps(document.getElementById("sweeps"), actions);
  render();
}

begin();
