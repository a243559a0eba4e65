// Elements of the page. A key gives an element the focus again after it was drawn anew.
"use strict";

// A new element. Children that are text become text, and never HTML: names and messages come from users.
function element(tag, attributes = {}, ...children) {
  const made = tag.startsWith("svg:")
    ? document.createElementNS("http://www.w3.org/2000/svg", tag.slice(4))
    : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (value !== false && value !== null && value !== undefined)
      made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined));
  return made;
}

// Text that may break after the marks at which paths and labels are put together.
function breakable(text) {
  return String(text)
    .split(/(?<=[/,_])/)
    .flatMap((part) => [part, element("wbr")]);
}

// A box to tick, with words behind it.
function checkbox(key, checked, onchange, ...words) {
  const box = element("input", {type: "checkbox", "data-key": key, checked, onchange});
  return element("label", {class: "tick"}, box, element("span", {}, words));
}

function button(key, onclick, ...words) {
  return element("button", {type: "button", "data-key": key, onclick}, words);
}

// A list to choose from: `options` are pairs of a value and its title.
function choice(key, title, options, value, onchange) {
  const each = options.map(([name, words]) => element("option", {value: name, selected: name === value}, words));
  const list = element("select", {"data-key": key, onchange: (event) => onchange(event.target.value)}, each);
  return element("label", {}, `${title} `, list);
}

function controls(...children) {
  return element("div", {class: "controls"}, children);
}

function small(...words) {
  return element("p", {class: "small"}, words);
}

// A table of a kind in a region that scrolls by itself, also by the keyboard.
function tableIn(label, kind, head, ...bodies) {
  const table = element("table", {class: kind}, element("thead", {}, head), bodies);
  const region = {class: `scroll ${kind}`, tabindex: "0", role: "region", "aria-label": label, "data-key": label};
  return element("div", region, table);
}

function headings(...titles) {
  return element(
    "tr",
    {},
    titles.map((title) => element("th", {scope: "col"}, title)),
  );
}
