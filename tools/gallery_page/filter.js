// The filter's words: "vae seed=1 loss<250 -diverged". index.html explains them to the reader.
"use strict";

const OPERATORS = {
  "=": (a, b) => a === b,
  "<": (a, b) => a < b,
  ">": (a, b) => a > b,
  "<=": (a, b) => a <= b,
  ">=": (a, b) => a >= b,
};

function unquoted(text) {
  return text.replaceAll('"', "");
}

// The words of a filter: {not, text} or {not, name, operator, wanted}.
function parseFilter(text) {
  return (text.match(/(?:"[^"]*"?|[^\s"])+/g) ?? []).map((word) => {
    const not = word.startsWith("-") && word.length > 1;
    const rest = not ? word.slice(1) : word;
    const parts = rest.match(/^((?:"[^"]*"|[^"<>=!])+)(!=|<=|>=|=|<|>)(.*)$/);
    if (!parts) return {not, text: unquoted(rest).toLowerCase()};
    const [, name, operator, wanted] = parts;
    const unlike = operator === "!=";
    return {not: not !== unlike, name: unquoted(name), operator: unlike ? "=" : operator, wanted: unquoted(wanted)};
  });
}

function lastPart(name) {
  return name.split(/[/.]/).at(-1);
}

// The columns that a name means: those of this name, or else those whose last part it is, or else those it begins.
function columnsNamed(name) {
  const wanted = name.toLowerCase();
  const tests = [(own) => own === wanted, (own) => lastPart(own) === wanted, (own) => own.startsWith(wanted)];
  for (const test of tests) {
    const found = COLUMNS.filter((column) => [column.name, column.title].some((own) => test(own.toLowerCase())));
    if (found.length) return found;
  }
  return [];
}

// What cannot be meant by the words, in a sentence; "" where all can.
function problemOf(words) {
  for (const word of words.filter((one) => one.name !== undefined)) {
    if (!columnsNamed(word.name).length) return `No run has anything called “${word.name}”.`;
    if (word.wanted === "") return `Give a value behind “${word.name}${word.operator}”.`;
    if (word.operator !== "=" && Number.isNaN(Number(word.wanted))) return `“${word.wanted}” is no number.`;
  }
  return "";
}

// A field that a run does not have is undefined, and null where it is none.
function holds(value, operator, wanted) {
  if (value === undefined) return false;
  if (value === null) return operator === "=" && wanted.toLowerCase() === "none";
  const number = typeof value === "number" && !Number.isNaN(Number(wanted));
  if (number) return OPERATORS[operator](value, Number(wanted));
  return operator === "=" && String(value).toLowerCase() === wanted.toLowerCase();
}

// Whether all words hold of a run; `columns` are those that each word's name means.
function matches(run, words, columns) {
  const all = [run.id, run.experiment, run.variant, run.row, run.state, ...run.errors].join("\n").toLowerCase();
  return words.every((word, index) => {
    const found =
      word.name === undefined
        ? all.includes(word.text)
        : columns[index].some((column) => holds(column.value(run), word.operator, word.wanted));
    return found !== word.not;
  });
}

// {runs, problem}: the runs of which all words hold; a word that can mean nothing is said, and then none is left out.
function filtered(text) {
  const words = parseFilter(text);
  const problem = problemOf(words);
  if (problem) return {runs: RUNS, problem};
  const columns = words.map((word) => (word.name === undefined ? [] : columnsNamed(word.name)));
  return {runs: RUNS.filter((run) => matches(run, words, columns)), problem: ""};
}
