"""Demo pages as whole HTML documents: the fragment in its site's layout, with everything that real pages add.

In: sites and pages of ``demo_web`` and the templates of ``data/demo/layouts`` (their words, advertisements and
comments in ``strings.yaml``). Out: HTML text. Every choice is drawn with the page's URL as seed.
"""

import random
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from webinstruct_assets.core.errors import BadInput
from webinstruct_assets.stages.crawl.demo_math import HEADS, render_tex
from webinstruct_assets.stages.crawl.demo_web import (
    LANGUAGES,
    LAYOUTS,
    DemoPage,
    DemoSite,
    DemoWeb,
    parse_fragment,
    replace_tex,
    without_marks,
)

if TYPE_CHECKING:
    from jinja2 import Environment

# Sites in these languages are served in an encoding from before UTF-8, as old sites still are.
CHARSETS = {"es": "iso-8859-1", "de": "windows-1252"}
COMMENTED_SHARE = 0.4  # of pages, where the layout has comments at all
UNCOMMENTED_KINDS = ("forum", "docs", "exam")  # threads bring their own posts, papers have none


@dataclass(frozen=True)
class Rendered:
    """A finished page: its URL, its site, the HTML, and the encoding that it declares."""

    url: str
    site: DemoSite
    html: str
    charset: str


class Renderer:
    """Renders the pages of one demo web. Raises BadInput for a layout or its strings that cannot be used."""

    def __init__(self, web: DemoWeb, layouts: Path):
        import yaml

        self._web = web
        self._environment = _environment(layouts)
        strings = layouts / "strings.yaml"
        self._strings: Mapping[str, dict[str, Any]] = yaml.safe_load(strings.read_text(encoding="utf-8"))
        if missing := LANGUAGES.keys() - self._strings.keys():
            raise BadInput(f"{strings}: field {sorted(missing)[0]!r}: is missing", "add the words of this language")
        self._pages: dict[str, list[DemoPage]] = {host: [] for host in web.sites}
        for page in web.pages:
            self._pages[page.host].append(page)

    def all_pages(self) -> list[Rendered]:
        """Every page and every host's index page, in URL order."""
        rendered = [self._page(page) for page in self._web.pages]
        rendered += [self._index(site) for site in self._web.sites.values()]
        return sorted(rendered, key=lambda page: page.url)

    def _page(self, page: DemoPage) -> Rendered:
        site = self._web.sites[page.host]
        fragment = without_marks(page.fragment)
        body = replace_tex(fragment, lambda tex, display: render_tex(tex, display, site.math))
        return self._render(site, page.url, f"/{page.path}", page.title, body)

    def _index(self, site: DemoSite) -> Rendered:
        from jinja2 import Template

        template = Template(
            '<h1>{{ site.name }}</h1>\n<p class="intro">{{ site.tagline }}</p>\n<ul class="index">\n'
            "{% for title, path, teaser in entries %}"
            '<li><a href="{{ path }}">{{ title }}</a>{% if teaser %}<p>{{ teaser }}</p>{% endif %}</li>\n'
            "{% endfor %}</ul>",
            autoescape=True,
        )
        entries = [(page.title, f"/{page.path}", _teaser(page)) for page in self._pages[site.host]]
        body = template.render(site=site, entries=entries)
        return self._render(site, f"https://{site.host}/", "/", site.name, body)

    def _render(self, site: DemoSite, url: str, path: str, title: str, body: str) -> Rendered:
        from markupsafe import Markup

        words = self._strings[site.language]
        pick = random.Random(url)
        siblings = [(page.title, f"/{page.path}") for page in self._pages[site.host]]
        others = [entry for entry in siblings if entry[1] != path]
        place = [target for _, target in siblings].index(path) if path != "/" else -1
        written = date(2025, 12, 31) - timedelta(days=pick.randrange(3000))
        charset = CHARSETS.get(site.language, "utf-8")
        headings = re.findall(r"<h[23][^>]*>(.*?)</h[23]>", body, re.DOTALL)
        html = self._environment.get_template(f"{site.layout}.html").render(
            site=site,
            t=words,
            url=url,
            path=path,
            title=title,
            page_title=title if path == "/" else f"{title} | {site.name}",
            body=Markup(body),
            math_head=Markup(HEADS[site.math]),
            charset=charset,
            nav=site.nav,
            crumbs=_crumbs(words["home"], path),
            related=pick.sample(others, min(5, len(others))),
            siblings=siblings,
            previous=siblings[place - 1] if place > 0 else None,
            next=siblings[place + 1] if 0 <= place < len(siblings) - 1 else None,
            headings=[re.sub(r"<[^>]*>", "", heading).strip() for heading in headings],
            ads=pick.sample(words["ads"], 2),
            comments=_comments(pick, words, site, path, written),
            author=pick.choice(words["names"]),
            date=written.isoformat(),
            year=written.year,
            views=pick.randrange(20, 9000),
        )
        return Rendered(url, site, html, charset)


def _environment(layouts: Path) -> "Environment":
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    for name in LAYOUTS:
        if not (layouts / f"{name}.html").is_file():
            raise BadInput(f"{layouts}: layout {name}.html is missing", "restore the file")
    return Environment(
        loader=FileSystemLoader(layouts), autoescape=True, undefined=StrictUndefined, keep_trailing_newline=True
    )


def _crumbs(home: str, path: str) -> list[tuple[str, str]]:
    """(label, path) of the folders above a page."""
    steps = path.strip("/").split("/")[:-1]
    folders = [(step.replace("-", " ").capitalize(), "/" + "/".join(steps[: at + 1])) for at, step in enumerate(steps)]
    return [(home, "/"), *folders]


def _comments(
    pick: random.Random, words: dict[str, Any], site: DemoSite, path: str, written: date
) -> list[dict[str, str]]:
    if path == "/" or site.kind in UNCOMMENTED_KINDS or pick.random() > COMMENTED_SHARE:
        return []
    texts = pick.sample(words["comments_pool"], pick.randrange(1, 5))
    days = sorted(pick.randrange(1, 400) for _ in texts)
    return [
        {"name": pick.choice(words["names"]), "text": text, "date": (written + timedelta(days=day)).isoformat()}
        for text, day in zip(texts, days, strict=True)
    ]


def _teaser(page: DemoPage) -> str:
    """The first words of a page's first paragraph, as index pages show them; "" where it begins with a formula."""
    first = parse_fragment(without_marks(page.fragment)).css_first("p")
    words = first.text().split("\\")[0].split() if first else []
    return " ".join(words[:18]) + " …" if len(words) > 5 else ""
