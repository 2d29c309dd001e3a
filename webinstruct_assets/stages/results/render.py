"""Tables as HTML, Markdown, LaTeX and CSV. Recipes and models are text that anybody may have written: all of it is escaped.

In: tables, figures, scores. Out: the text of files.
"""

import base64
import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from webinstruct_assets.core import markdown as md
from webinstruct_assets.core.markdown import inert
from webinstruct_assets.stages.results.tables import Cell, Table

TEMPLATE = Path(__file__).parent / "report.html"
FOLD = 60  # rows from which a table is shown when asked for
TEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "Δ": r"$\Delta$", "—": "---", "–": "--", "\N{MINUS SIGN}": "$-$",
    "≈": r"$\approx$", "×": r"$\times$", "<": r"\textless{}", ">": r"\textgreater{}", "*": r"$^{*}$",
}  # fmt: skip


def html(
    title: str, lead: Sequence[str], sections: Sequence[dict[str, Any]], dagster: str, sources: Sequence[str]
) -> str:
    """The page, whole: styles and figures are inside, nothing is loaded from anywhere."""
    from jinja2 import Environment, StrictUndefined

    template = Environment(undefined=StrictUndefined, autoescape=True, trim_blocks=True, lstrip_blocks=True)
    return template.from_string(TEMPLATE.read_text(encoding="utf-8")).render(
        title=title, lead=lead, sections=sections, dagster=dagster.rstrip("/"), sources=sources,
        fold=FOLD, data=lambda svg: base64.b64encode(svg).decode(),
    )  # fmt: skip


def markdown(table: Table) -> str:
    """The table under its title; notes follow a cell's number on lines of their own."""
    cells = md.table([*map(inert, table.heads)], ([*map(_markdown, row)] for row in table.rows))
    return f"### {inert(table.title)}\n\n{inert(table.caption)}\n\n{cells}\n"


def _markdown(cell: Cell) -> str:
    text = "; ".join([f"**{inert(cell.text)}**", *(inert(note) for note in cell.notes)])
    return f"{text}; *{inert(cell.paper)}*" if cell.paper else text


def latex(table: Table) -> str:
    """A ``booktabs`` table; needs the packages booktabs, makecell and xcolor."""
    columns = "l" + "r" * (len(table.heads) - 1)
    lines = [
        "% \\usepackage{booktabs,makecell,xcolor}",
        "\\begin{table}\n\\centering\\small",
        f"\\caption{{{tex(table.title)}. {tex(table.caption)}}}",
        f"\\label{{tab:{table.name}}}",
        f"\\begin{{tabular}}{{{columns}}}\n\\toprule",
        " & ".join(tex(head) for head in table.heads) + r" \\",
        r"\midrule",
        *(" & ".join(_latex(cell) for cell in row) + r" \\" for row in table.rows),
        "\\bottomrule\n\\end{tabular}\n\\end{table}",
    ]
    return "\n".join(lines) + "\n"


def _latex(cell: Cell) -> str:
    lines = [tex(cell.text), *(f"\\scriptsize {tex(note)}" for note in cell.notes)]
    lines += [f"\\scriptsize\\textcolor{{gray}}{{{tex(cell.paper)}}}"] if cell.paper else []
    joined = r" \\ ".join(lines)
    return joined if len(lines) == 1 else f"\\makecell[tr]{{{joined}}}"


def tex(text: str) -> str:
    """Text with what LaTeX would read as a command escaped."""
    return "".join(TEX.get(character, character) for character in " ".join(text.split()))


def comma_separated(rows: Sequence[dict[str, Any]]) -> str:
    """Records as CSV, empty where a value is None; text that a spreadsheet would take for a formula is quoted by '."""
    stream = io.StringIO()
    if rows:
        writer = csv.DictWriter(stream, fieldnames=list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows({name: _plain(value) for name, value in row.items()} for row in rows)
    return stream.getvalue()


def _plain(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r") else value
