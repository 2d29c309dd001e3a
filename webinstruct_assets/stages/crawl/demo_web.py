r"""The demo web's sources: hosts, pages and their gold marks, checked.

In: ``data/demo/web/<host>/site.yaml`` and ``<path>.html`` (YAML front matter, then an HTML fragment with TeX
between ``\(…\)`` or ``\[…\]`` and gold marks ``data-q``/``data-a``). Out: sites, pages, and the gold pairs.
A file that does not hold what it should raises BadInput naming file and field.

Gold marks: elements carrying ``data-q="1"`` hold the question of pair 1, those with ``data-a="1"`` its answer;
texts of several elements are joined in document order, and ``data-q="1 2"`` is a stem shared by two pairs.
The front matter says what is wrong with a pair (``defects: {1: defect_truncated}``) and which pair it is a reworded
copy of (``copies: {1: host/path#3}``).
"""

import html
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from webinstruct_assets.core.errors import BadInput, MissingInput
from webinstruct_assets.stages.crawl.plain_text import node_text

if TYPE_CHECKING:
    from selectolax.lexbor import LexborNode

KINDS = ("exam", "quiz", "textbook", "homework", "forum", "faq", "news", "shop", "blog", "docs", "recipes",
         "spam", "other")  # fmt: skip
SOURCE_TYPES = frozenset(("education", "forum", "other"))
LAYOUTS = ("classic", "sidebar", "cards", "wiki", "forum", "minimal", "tabular", "magazine", "docs")
MATHS = ("mathjax", "mathjax2", "katex", "mathml", "mathml-plain", "none")
LEVELS = frozenset(("primary", "secondary", "undergraduate", "graduate"))
# What a pair may have wrong as its page shows it (stages/refinement/defects.py).
DEFECTS = frozenset(f"defect_{name}" for name in ("language", "loop", "not_self_contained", "refusal", "truncated"))
SUBJECTS = frozenset(("mathematics", "physics", "chemistry", "biology", "computing", "economics"))
LANGUAGES = {"en": "eng", "es": "spa", "de": "deu"}  # to ISO 639-3

_FRONT_MATTER = re.compile(r"---\n(.*?)\n---\n(.*)", re.DOTALL)
# Markup and code, where backslashes are no mathematics; the rest of a fragment is text.
_NO_TEXT = re.compile(
    r"(<!--.*?-->|<(?:script|pre|code|style)\b.*?</(?:script|pre|code|style)\s*>|<[^>]*>)",
    re.DOTALL | re.IGNORECASE,
)
_TEX = re.compile(r"\\\((.+?)\\\)|\\\[(.+?)\\\]", re.DOTALL)
_SCRIPT = re.compile(r"<(su[pb])\b[^>]*>(.*?)</\1>", re.DOTALL | re.IGNORECASE)


@dataclass(frozen=True)
class DemoSite:
    """A host. ``educational`` and ``source_type`` are the gold labels of its domain.

    ``level``: that of its pairs where pages do not name another, "" where that is anybody's guess.
    """

    host: str
    name: str
    tagline: str
    kind: str
    educational: bool
    source_type: str
    language: str
    layout: str
    math: str
    nav: tuple[tuple[str, str], ...]
    mirrors: tuple[str, ...]
    level: str


@dataclass(frozen=True)
class DemoPage:
    """A page. ``fragment`` still holds TeX and gold marks; ``mirror_of`` is the URL it copies, "" for its own.

    ``contaminated``: ids of benchmark items that the page repeats on purpose. ``copies``: number of a pair -> the pair
    ``host/path#number`` that it rewords; ``defects``: number of a pair -> the reason for which it should be dropped.
    """

    host: str
    path: str
    title: str
    subject: str
    level: str
    written: str
    question_page: bool
    contaminated: tuple[str, ...]
    copies: dict[int, str]
    defects: dict[int, str]
    fragment: str
    file: str
    mirror_of: str = ""

    @property
    def url(self) -> str:
        """Where the demo web serves it."""
        return f"https://{self.host}/{self.path}"


@dataclass(frozen=True)
class DemoWeb:
    """All sites (by host) and all pages in URL order, mirrored ones included."""

    sites: dict[str, DemoSite]
    pages: tuple[DemoPage, ...]


def load_demo_web(demo_dir: Path) -> DemoWeb:
    """Reads and checks ``demo_dir``/web. Raises MissingInput or BadInput."""
    folders = sorted(file.parent for file in (demo_dir / "web").glob("*/site.yaml"))
    if not folders:
        raise MissingInput(f"{demo_dir}/web holds no host folder with a site.yaml", "check crawl.demo_sources")
    sites = {folder.name: _load_site(folder) for folder in folders}
    pages: dict[str, DemoPage] = {}
    for folder in folders:
        for file in sorted(folder.rglob("*.html")):
            page = _load_page(file, folder, sites[folder.name])
            pages[f"{page.host}/{page.path}"] = page
    for site in sites.values():
        for target in site.mirrors:
            if target not in pages:
                raise _wrong(demo_dir / f"web/{site.host}/site.yaml", "mirrors", f"no page {target}")
            page = pages[target]
            copy = replace(page, host=site.host, mirror_of=page.url)
            if f"{site.host}/{page.path}" in pages:
                raise _wrong(demo_dir / f"web/{site.host}/site.yaml", "mirrors", f"{page.path} exists here already")
            pages[f"{site.host}/{page.path}"] = copy
    for page in pages.values():
        for copied in page.copies.values():
            target, _, number = copied.partition("#")
            if target not in pages or number not in (str(pair) for pair, _, _ in page_pairs(pages[target])):
                raise _wrong(Path(page.file), "copies", f"no pair {copied}")
    return DemoWeb(sites, tuple(page for _, page in sorted(pages.items())))


def replace_tex(fragment: str, render: Callable[[str, bool], str]) -> str:
    """The fragment with each TeX formula replaced by ``render(tex, display)``; TeX comes without HTML escapes."""

    def one(match: re.Match[str]) -> str:
        tex = match[1] if match[1] is not None else match[2]
        return render(html.unescape(tex).strip(), match[1] is None)

    parts = _NO_TEXT.split(fragment)
    parts[::2] = [_TEX.sub(one, text) for text in parts[::2]]
    return "".join(parts)


def page_pairs(page: DemoPage) -> list[tuple[int, str, str]]:
    """(number, question, answer) of each gold pair.

    White space is folded, mathematics is ``$…$`` or ``$$…$$``, and HTML's raised and lowered text ``^3`` or
    ``_{10}``, so that 10⁵ does not become 105.
    """

    def dollars(tex: str, display: bool) -> str:
        marks = "$$" if display else "$"
        return html.escape(f"{marks}{tex}{marks}", quote=False)

    body = parse_fragment(_SCRIPT.sub(_script_text, replace_tex(page.fragment, dollars)))
    questions, answers = (_marked(page, body, kind) for kind in ("q", "a"))
    if questions.keys() != answers.keys():
        odd = sorted(questions.keys() ^ answers.keys())
        raise _wrong(
            Path(page.file), "data-q/data-a", f"pair {odd[0]} has no {'answer' if odd[0] in questions else 'question'}"
        )
    return [(number, questions[number], answers[number]) for number in sorted(questions)]


def _script_text(match: re.Match[str]) -> str:
    mark, text = ("^" if match[1].lower() == "sup" else "_"), match[2]
    return f"{mark}{text}" if len(html.unescape(text)) == 1 else f"{mark}{{{text}}}"


def parse_fragment(fragment: str) -> "LexborNode":
    """The fragment as the body of an HTML document."""
    from selectolax.lexbor import LexborHTMLParser

    body = LexborHTMLParser(f"<!doctype html><body>{fragment}").body
    assert body is not None  # the parser always makes one
    return body


def without_marks(fragment: str) -> str:
    """The fragment without gold marks, and without the bare ``<span>`` that only carried one."""
    body = parse_fragment(fragment)
    for node in body.css("[data-q], [data-a]"):
        for name in ("data-q", "data-a"):
            if name in node.attributes:
                del node.attrs[name]
        if node.tag == "span" and not node.attributes:
            node.unwrap()
    return (body.html or "").removeprefix("<body>").removesuffix("</body>")


def _marked(page: DemoPage, body: "LexborNode", kind: str) -> dict[int, str]:
    """Pair number -> text of the elements marked with it."""
    texts: dict[int, list[str]] = {}
    other = "data-a" if kind == "q" else "data-q"
    for node in body.css(f"[data-{kind}]"):
        numbers = (node.attributes[f"data-{kind}"] or "").split()
        if not numbers or not all(number.isdigit() for number in numbers):
            raise _wrong(Path(page.file), f"data-{kind}", f"{' '.join(numbers)!r} is no list of pair numbers")
        text = node_text(node, lambda inner: other in inner.attributes and f"data-{kind}" not in inner.attributes)
        for number in numbers:
            texts.setdefault(int(number), []).append(" ".join(text.split()))
    for pair, parts in texts.items():
        if not all(parts):
            raise _wrong(Path(page.file), f"data-{kind}", f"an element of pair {pair} holds no text")
    return {pair: " ".join(parts) for pair, parts in texts.items()}


# --- files


def _load_site(folder: Path) -> DemoSite:
    file = folder / "site.yaml"
    fields = _yaml(file, file.read_text(encoding="utf-8"))
    known = {"name", "tagline", "kind", "educational", "source_type", "language", "layout", "math", "nav", "mirrors",
             "level"}  # fmt: skip
    if unknown := fields.keys() - known:
        raise _wrong(file, sorted(unknown)[0], "is not a known field")
    if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*\.example", folder.name):
        raise _wrong(file, "host", f"the folder {folder.name!r} is not named like a .example host")
    nav = fields.get("nav", [])
    if not isinstance(nav, list) or not all(isinstance(item, list) and len(item) == 2 for item in nav):
        raise _wrong(file, "nav", "is not a list of [label, path]")
    mirrors = fields.get("mirrors", [])
    if not isinstance(mirrors, list):
        raise _wrong(file, "mirrors", "is not a list of host/path")
    return DemoSite(
        host=folder.name,
        name=_text(file, fields, "name"),
        tagline=_text(file, fields, "tagline"),
        kind=_one_of(file, fields, "kind", KINDS),
        educational=_flag(file, fields, "educational"),
        source_type=_one_of(file, fields, "source_type", SOURCE_TYPES),
        language=_one_of(file, fields, "language", LANGUAGES),
        layout=_one_of(file, fields, "layout", LAYOUTS),
        math=_one_of(file, fields, "math", MATHS),
        nav=tuple((str(label), str(path)) for label, path in nav),
        mirrors=tuple(map(str, mirrors)),
        level=_one_of(file, fields, "level", LEVELS) if "level" in fields else "",
    )


def _load_page(file: Path, folder: Path, site: DemoSite) -> DemoPage:
    match = _FRONT_MATTER.fullmatch(file.read_text(encoding="utf-8"))
    if not match:
        raise _wrong(file, "front matter", "the file does not begin with YAML between two --- lines")
    fields = _yaml(file, match[1])
    known = {"title", "subject", "level", "written", "question_page", "contaminated", "copies", "defects"}
    if unknown := fields.keys() - known:
        raise _wrong(file, sorted(unknown)[0], "is not a known field")
    page = DemoPage(
        host=site.host,
        path=file.relative_to(folder).with_suffix("").as_posix(),
        title=_text(file, fields, "title"),
        subject=_one_of(file, fields, "subject", SUBJECTS) if "subject" in fields else "",
        level=_one_of(file, fields, "level", LEVELS) if "level" in fields else site.level,
        written=_one_of(file, fields, "written", ("individually", "generated")),
        question_page=_flag(file, fields, "question_page"),
        contaminated=tuple(map(str, fields.get("contaminated", []))),
        copies=_per_pair(file, fields, "copies"),
        defects=_per_pair(file, fields, "defects"),
        fragment=match[2],
        file=str(file),
    )
    if not re.fullmatch(r"[a-z0-9-]+(/[a-z0-9-]+)*", page.path):
        raise _wrong(file, "file name", "is not made of lower-case words with hyphens")
    if bool(page_pairs(page)) != page.question_page:
        marks = "no gold mark" if page.question_page else "gold marks"
        raise _wrong(file, "question_page", f"is {str(page.question_page).lower()}, but the page has {marks}")
    for pair, reason in page.defects.items():
        if reason not in DEFECTS:
            raise _wrong(file, "defects", f"pair {pair} is {reason!r}, must be one of {', '.join(sorted(DEFECTS))}")
    return page


def _yaml(file: Path, text: str) -> dict[str, Any]:
    import yaml

    try:
        fields = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise _wrong(file, "YAML", str(error).replace("\n", " ")) from error
    if not isinstance(fields, dict):
        raise _wrong(file, "YAML", "is not a mapping of fields")
    return fields


def _per_pair(file: Path, fields: dict[str, Any], name: str) -> dict[int, str]:
    value = fields.get(name, {})
    if not isinstance(value, dict) or not all(isinstance(pair, int) for pair in value):
        raise _wrong(file, name, f"is no mapping from numbers of pairs, but {value!r}")
    return {pair: str(entry) for pair, entry in value.items()}


def _text(file: Path, fields: dict[str, Any], name: str) -> str:
    value = fields.get(name)
    if not isinstance(value, str) or not value.strip():
        raise _wrong(file, name, f"must be text, is {value!r}")
    return value.strip()


def _flag(file: Path, fields: dict[str, Any], name: str) -> bool:
    value = fields.get(name)
    if not isinstance(value, bool):
        raise _wrong(file, name, f"must be true or false, is {value!r}")
    return value


def _one_of(file: Path, fields: dict[str, Any], name: str, allowed: Any) -> str:
    value = fields.get(name)
    if value not in allowed:
        raise _wrong(file, name, f"is {value!r}, must be one of {', '.join(sorted(allowed))}")
    return str(value)


def _wrong(file: Path, field: str, problem: str) -> BadInput:
    return BadInput(f"{file}: field {field!r}: {problem}", "correct the file")
