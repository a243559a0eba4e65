"""A document as a list of blocks, written as HTML that needs nothing else and as Markdown that says the same.

Every text is escaped in both: labels, messages and configs come from users.
"""

import base64
import html
import re
from collections.abc import Sequence
from typing import NamedTuple


class Heading(NamedTuple):
    """A section begins."""

    text: str


class Paragraph(NamedTuple):
    """Plain text; `small` for what explains a table or picture."""

    text: str
    small: bool = False


class Bullets(NamedTuple):
    """A list; each item may begin with a bold term."""

    items: Sequence[tuple[str, str]]  # term, text


class Grid(NamedTuple):
    """A table. Columns after the first `left` ones are numbers, aligned right; a row in `strong` is bold."""

    head: Sequence[str]
    lines: Sequence[Sequence[str]]
    left: int = 1
    strong: frozenset[int] = frozenset()


class Code(NamedTuple):
    """A command, or JSON."""

    text: str


class Picture(NamedTuple):
    """A drawing: inline SVG in the page, a file beside the Markdown."""

    svg: str
    file: str  # relative path of the PNG
    alt: str


class Gallery(NamedTuple):
    """Pictures with captions, embedded in the page; one file beside the Markdown."""

    pictures: Sequence[tuple[str, bytes]]  # caption, PNG
    file: str
    alt: str


class Folded(NamedTuple):
    """Blocks behind a line that opens them."""

    summary: str
    blocks: Sequence["Block"]


Block = Heading | Paragraph | Bullets | Grid | Code | Picture | Gallery | Folded

STYLE = """
:root { color-scheme: light dark; --ink: #1c1e21; --soft: #5c6166; --line: #d9dce0; --back: #ffffff; --shade: #f5f6f8; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e4e6e9; --soft: #a0a6ad; --line: #3a3f45; --back: #16181b; --shade: #1f2226; }
}
body { margin: 0 auto; padding: 2rem 1.25rem 4rem; max-width: 66rem; background: var(--back); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
h1 { font-size: 1.75rem; line-height: 1.2; margin: 0 0 1rem; overflow-wrap: anywhere; }
h2 { font-size: 1.2rem; margin: 2.5rem 0 .6rem; padding-top: .9rem; border-top: 1px solid var(--line);
  overflow-wrap: anywhere; }
p, ul { max-width: 46rem; margin: .6rem 0; overflow-wrap: anywhere; }
.small { color: var(--soft); font-size: .88rem; }
.scroll { overflow-x: auto; margin: .8rem 0; }
table { border-collapse: collapse; font-size: .84rem; font-variant-numeric: tabular-nums; }
th, td { padding: .32rem .6rem; text-align: left; vertical-align: top; border-bottom: 1px solid var(--line); }
th { background: var(--shade); font-weight: 600; vertical-align: bottom; }
th.n, td.n { text-align: right; } td.n { white-space: nowrap; }
td { max-width: 26rem; overflow-wrap: break-word; } td.n { max-width: none; }
tr.strong td { font-weight: 600; }
svg { display: block; max-width: 100%; height: auto; margin: .8rem 0; }
pre { background: var(--shade); padding: .7rem .9rem; border-radius: 6px; font-size: .82rem; white-space: pre-wrap;
  overflow-wrap: anywhere; }
.gallery { display: flex; flex-wrap: wrap; gap: 1rem; }
figure { margin: 0; width: 15rem; } figure img { width: 100%; height: auto; display: block; border-radius: 3px; }
figcaption { font-size: .8rem; color: var(--soft); overflow-wrap: anywhere; margin-top: .25rem; }
details { margin: .8rem 0; } summary { cursor: pointer; }
@media print {
  body { max-width: none; padding: 0; } .scroll { overflow: visible; } svg, figure { break-inside: avoid; }
}
"""


def as_html(title: str, blocks: Sequence[Block]) -> str:
    """One page: style, pictures and all in it; no script, nothing loaded."""
    body = "\n".join(map(_html, blocks))
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{_text(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<h1>{_text(title)}</h1>\n"
        f"{body}\n</body>\n</html>\n"
    )


def as_markdown(title: str, blocks: Sequence[Block]) -> str:
    """GitHub's Markdown: the same blocks, pictures as links to files."""
    return "\n\n".join([f"# {_mark(title)}", *map(_markdown, blocks)]) + "\n"


def _html(block: Block) -> str:
    match block:
        case Heading(text):
            return f"<h2>{_text(text)}</h2>"
        case Paragraph(text, small):
            return f'<p class="small">{_text(text)}</p>' if small else f"<p>{_text(text)}</p>"
        case Bullets(items):
            lines = "".join(f"<li>{f'<b>{_text(term)}</b> ' if term else ''}{_text(text)}</li>" for term, text in items)
            return f"<ul>{lines}</ul>"
        case Grid(head, lines, left, strong):
            top = _cells("th", head, left)
            kinds = [' class="strong"' if i in strong else "" for i in range(len(lines))]
            body = "\n".join(f"<tr{k}>{_cells('td', line, left)}</tr>" for k, line in zip(kinds, lines, strict=True))
            return f'<div class="scroll"><table><thead><tr>{top}</tr></thead>\n<tbody>\n{body}\n</tbody></table></div>'
        case Code(text):
            return f"<pre><code>{_text(text)}</code></pre>"
        case Picture(svg, _, alt):
            return svg.replace("<svg", f'<svg role="img" aria-label="{_text(alt)}"', 1)
        case Gallery(pictures, _, _):
            return '<div class="gallery">' + "\n".join(_figure(*one) for one in pictures) + "</div>"
        case Folded(summary, inner):
            return f"<details><summary>{_text(summary)}</summary>\n" + "\n".join(map(_html, inner)) + "\n</details>"


def _markdown(block: Block) -> str:
    match block:
        case Heading(text):
            return f"## {_mark(text)}"
        case Paragraph(text):
            return _mark(text)
        case Bullets(items):
            return "\n".join(f"- {f'**{_mark(term)}** ' if term else ''}{_mark(text)}" for term, text in items)
        case Grid(head, lines, left, strong):
            rule = ["---" if i < left else "---:" for i in range(len(head))]
            made = [
                [f"**{_mark(cell)}**" if i in strong and cell else _mark(cell) for cell in line]
                for i, line in enumerate(lines)
            ]
            return "\n".join("| " + " | ".join(line) + " |" for line in [[_mark(cell) for cell in head], rule, *made])
        case Code(text):
            fence = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", text)), default=0))
            return f"{fence}\n{text}\n{fence}"
        case Picture(_, file, alt) | Gallery(_, file, alt):
            return f"![{_mark(alt)}]({file})"
        case Folded(summary, inner):
            body = "\n\n".join(map(_markdown, inner))
            return f"<details><summary>{_text(summary)}</summary>\n\n{body}\n\n</details>"


def _cells(tag: str, cells: Sequence[str], left: int) -> str:
    kinds = ["" if i < left else ' class="n"' for i in range(len(cells))]
    # A long label may break after its commas and underscores.
    texts = [
        re.sub(r"([,_])(?=[^\s,_])", r"\1<wbr>", _text(cell)) if not kind else _text(cell)
        for kind, cell in zip(kinds, cells, strict=True)
    ]
    return "".join(f"<{tag}{kind}>{text}</{tag}>" for kind, text in zip(kinds, texts, strict=True))


def _figure(caption: str, picture: bytes) -> str:
    data = base64.b64encode(picture).decode()
    return (
        f'<figure><img src="data:image/png;base64,{data}" alt="{_text(caption)}">'
        f"<figcaption>{_text(caption)}</figcaption></figure>"
    )


def _text(text: str) -> str:
    return html.escape(str(text), quote=True)


def _mark(text: str) -> str:
    """Literal in Markdown, and on one line."""
    plain = re.sub(r"([\\`*_\[\]|~#$])", r"\\\1", " ".join(str(text).split()))
    return plain.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
