// The sweeps, with their reports.
"use strict";

// How many of a sweep's runs there are, and in which states.
function runsText(sweep) {
  const own = RUNS.filter((run) => run.sweep === sweep.id);
  const states = distinct(own.map((run) => run.state));
  const counts = states.map((state) => `${own.filter((run) => run.state === state).length} ${state}`);
  return [`${own.length} of ${sweep.rows * sweep.seeds} begun`, ...counts].join(", ");
}

function lineOfSweep(sweep, actions) {
  const show = button(`sweep ${sweep.id}`, () => actions.filter(`sweep="${sweep.id}"`), breakable(sweep.id));
  const texts = [sweep.experiment, `${sweep.rows} × ${sweep.seeds}`, runsText(sweep), String(sweep.budget)];
  const reports = sweep.files.map((file) => element("a", {href: `files/${file.file}`}, file.name));
  return element(
    "tr",
    {},
    element("th", {scope: "row"}, show, sweep.complete ? null : " (not complete)"),
    texts.map((text) => element("td", {}, text)),
    element("td", {}, reports, sweep.errors.join(" ")),
  );
}

function renderSweeps(place, actions) {
  if (!SWEEPS.length) return;
  const head = headings("sweep", "experiment", "rows × seeds", "runs", "budget", "report");
  const rows = SWEEPS.map((sweep) => lineOfSweep(sweep, actions));
  place.replaceChildren(
    element("h2", {}, "Sweeps"),
    small("A sweep's name shows its runs alone; its report has intervals over seeds and tests."),
    tableIn("Table of sweeps", "sweeps", head, element("tbody", {}, rows)),
  );
}
