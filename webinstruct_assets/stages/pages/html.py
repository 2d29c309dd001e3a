"""A page's HTML to its text: one parse, one walk over the nodes, boilerplate decided on the result.

Bytes come in, a ``Page`` goes out: Markdown-like lines (``## `` headings, list items, table rows with `` | ``,
fenced code, ``$…$``/``$$…$$`` mathematics) with the source block of each, and the pairs that markup and
structure show without a model. Extraction for question pages differs from news: formulas, code, hidden answers
and short pages matter, so what readers can open is kept and what is dropped is counted with its reason.
"""

import re
from collections import Counter

from selectolax.lexbor import LexborHTMLParser, LexborNode

from webinstruct_assets.stages.pages import boilerplate, charset, mathml, rules
from webinstruct_assets.stages.pages.document import Block, Container, Layout, Line, Page, PageRejected
from webinstruct_assets.stages.pages.mathml import (
    BREAK,
    CODE_CLOSE,
    CODE_OPEN,
    DISPLAY_CLOSE,
    DISPLAY_OPEN,
    INLINE_CLOSE,
    INLINE_OPEN,
    SCRIPT_CLOSE,
    SUB_OPEN,
    SUP_OPEN,
)  # fmt: skip

MAX_BYTES = 16_000_000
MAX_NODES = 500_000
MAX_DEPTH = 2_000  # real pages stay below 200; deeper nesting is an unclosed tag repeated by a broken template

(SKIP, LINK, HEADING, ITEM, LIST, TABLE, ROW, CELL, PRE, CODE, SCRIPT_MARK, BREAKING, IMAGE, MATH, SCRIPT, BLOCK, DROPPED,
 BUTTON, MATHJAX, STRONG) = range(1, 21)  # fmt: skip
KINDS: dict[str, int] = {
    tag: kind
    for kind, tags in (
        (SKIP, "style template iframe svg canvas object embed applet audio video select input textarea noscript head meta link "
               "map area datalist dialog base param source track option optgroup progress meter rp rt frameset"),
        (LINK, "a"), (HEADING, "h1 h2 h3 h4 h5 h6"), (ITEM, "li"), (LIST, "ul ol"), (TABLE, "table"), (ROW, "tr"),
        (CELL, "td th"), (PRE, "pre listing xmp plaintext"), (CODE, "code tt kbd samp"), (SCRIPT_MARK, "sub sup"),
        (BREAKING, "br hr"), (IMAGE, "img"), (MATH, "math"), (SCRIPT, "script"), (BUTTON, "button"),
        (MATHJAX, "mjx-container"),
        (BLOCK, "html body div p section article main header form fieldset blockquote center address dl dt dd details "
                "summary figure figcaption tbody thead tfoot caption legend hgroup menu dir"),
        (DROPPED, "nav footer aside"),
    )
    for tag in tags.split()
}  # fmt: skip
CONTAINER_TAGS = frozenset(
    [
        "body",
        "div",
        "section",
        "article",
        "main",
        "header",
        "form",
        "fieldset",
        "blockquote",
        "dl",
        "dt",
        "dd",
        "details",
        "summary",
        "ul",
        "ol",
        "li",
        "table",
        "tr",
        "td",
        "th",
        "nav",
        "footer",
        "aside",
        "figure",
        "menu",
        "center",
    ]
)
ORDERED = {"a": ord("a"), "A": ord("A")}  # list types counted with letters
PRUNED = frozenset({"nav", "footer"})  # not even read: a third of a page's nodes, and no page keeps answers there
DROPPED_ROLES = {
    "navigation": "navigation", "banner": "frame", "contentinfo": "frame", "complementary": "frame", "search": "prompt",
    "menu": "navigation", "menubar": "navigation", "toolbar": "navigation", "dialog": "prompt", "alertdialog": "prompt",
}  # fmt: skip
HIDDEN_STYLE = re.compile(r"display\s*:\s*none|visibility\s*:\s*hidden", re.IGNORECASE)
JUNK_CHARS = re.compile("[\u200b\u200c\u200d\u2060\ufeff\u00ad]")
BREAKS = re.compile(rf"\s*{BREAK}\s*(?:{BREAK}\s*)*")
SCHEMA = re.compile(r"schema\.org/(?:#)?(Question|Answer|QAPage|FAQPage)\b|^(Question|Answer)$")
PROPERTIES = frozenset({"name", "text", "acceptedAnswer", "suggestedAnswer", "articleBody", "upvoteCount"})
BOLD = frozenset({"b", "strong"})
OPENS = re.compile(r"accordion|collaps|faq|toggle|trigger", re.IGNORECASE)  # buttons that carry a panel's title
SHOWN_INLINE = frozenset({"span", "b", "i", "em", "strong", "font", "label", "u", "small", "big", "mark", "bdi", "bdo"})
FORUM_HINT = re.compile(r"forum|thread|topic|showthread|viewtopic|/questions?/|/t/|/q/|board|discuss", re.IGNORECASE)


def extract_page(html: bytes, *, url: str, content_type: str | None = None) -> Page:
    """The cleaned page. Raises PageRejected (``too_large``, ``unknown_charset``, ``undecodable``, ``empty_page``)."""
    if len(html) > MAX_BYTES:
        raise PageRejected("too_large", f"{len(html):,} bytes, limit {MAX_BYTES:,}")
    if not html.strip(b"\x00 \t\r\n"):
        raise PageRejected("empty_page", "no bytes but white space")
    source, codec = charset.decode(html, content_type)
    if source.count("\x00") > len(source) / 10:
        raise PageRejected("undecodable", f"a tenth of the text is NUL characters when read as {codec}")
    source = mathml.PRIVATE.sub("\ufffd", source)
    tree = LexborHTMLParser(source)
    if tree.root is None:
        raise PageRejected("empty_page", "no element in it")
    walker = _Walker()
    walker.read_head(tree)
    walker.walk(tree.body if tree.body is not None else tree.root)
    layout = Layout(walker.blocks, walker.containers, walker.json_ld)
    boilerplate.drop_boilerplate(layout, forum=bool(FORUM_HINT.search(url)) or walker.accepted)
    text, lines = _lines(layout)
    page = Page(
        url=url, title=walker.title, text=text, lines=lines, language=_language(walker.language, text), charset=codec,
        dropped=dict(sorted((Counter(block.dropped for block in layout.blocks if block.dropped) + Counter(pruned=walker.pruned)).items())),
        math=sum(block.math for block in layout.blocks if not block.dropped),
    )  # fmt: skip
    if not page.title:
        page.title = next((block.text for block in layout.blocks if block.kind == "heading"), "")
    page.markup_pairs, page.markup_rejects = rules.find_pairs(page, layout, read_fragment)
    return page


def read_fragment(html: str) -> str:
    """The text of an HTML fragment, read as a page's own text is (mathematics included), in one line."""
    tree = LexborHTMLParser(mathml.PRIVATE.sub("\ufffd", html[:200_000]))
    walker = _Walker()
    if tree.body is not None:
        walker.walk(tree.body)
    return " ".join(block.text for block in walker.blocks)


class _Walker:
    """Builds blocks and containers in one pass. The stack is explicit: hostile pages nest deeper than Python does."""

    def __init__(self) -> None:
        self.blocks: list[Block] = []
        self.containers: list[Container] = [Container(-1, "body", 0)]
        self.json_ld: list[str] = []
        self.title = self.language = ""
        self.accepted = False
        self.pruned = 0
        self._here = 0  # current container
        self._buffer: list[str] = []
        self._link_depth = self._link_chars = self._links = self._math = 0
        self._bold = self._line_chars = self._line_bold = self._bold_lines = 0
        self._plain = self._away = False
        self._heading = self._pre = self._code = 0
        self._marker = self._label = ""
        self._lists: list[list[int]] = []  # [ordered, counter] per open list
        self._row = -1
        self._rows = 0

    # -- head -----------------------------------------------------------------------------------------------

    def read_head(self, tree: LexborHTMLParser) -> None:
        """Title, language and JSON-LD of the head."""
        if tree.root is not None:
            self.language = tree.root.attributes.get("lang") or tree.root.attributes.get("xml:lang") or ""
        node = tree.head.first_child if tree.head is not None else None
        while node is not None:
            if node.tag == "title" and not self.title:
                self.title = mathml.finished(mathml.delimited(" ".join(node.text(deep=True).split())))
            elif node.tag == "script":
                self._script(node)
            node = node.next

    # -- walk ------------------------------------------------------------------------------------------------

    def walk(self, root: LexborNode) -> None:
        """Reads everything below ``root``."""
        node = root.first_child
        if node is None:
            return
        stack: list[tuple[LexborNode, tuple[int, int, int] | None]] = []
        count = 0
        while True:
            count += 1
            if count > MAX_NODES:
                raise PageRejected("too_large", f"more than {MAX_NODES:,} nodes")
            child = None
            frame: tuple[int, int, int] | None = None
            tag = node.tag or ""
            if tag == "-text":
                self._text(node.text_content or "")
            elif node.is_element_node:
                descend, frame = self._enter(node, tag)
                if descend:
                    child = node.first_child
                if child is None and frame is not None:
                    self._leave(frame)
            if child is not None:
                if len(stack) >= MAX_DEPTH:
                    raise PageRejected("too_large", f"nested deeper than {MAX_DEPTH:,}")
                stack.append((node, frame))
                node = child
                continue
            following = node.next
            while following is None:
                if not stack:
                    self._flush()
                    self.containers[0].last = len(self.blocks)
                    return
                node, frame = stack.pop()
                if frame is not None:
                    self._leave(frame)
                following = node.next
            node = following

    def _text(self, text: str) -> None:
        if self._link_depth:
            self._link_chars += len(text.strip())
        size = len(text.strip())
        self._line_chars += size
        if self._bold:
            self._line_bold += size
        self._buffer.append(text)

    def _end_line(self) -> None:
        """Counts the bold lines that a block begins with."""
        if self._line_chars:
            if self._line_bold >= self._line_chars - 1 and not self._plain:  # the colon after it may be plain
                self._bold_lines += 1
            else:
                self._plain = True
            self._line_chars = self._line_bold = 0

    def _enter(self, node: LexborNode, tag: str) -> tuple[bool, tuple[int, int, int] | None]:
        """Whether to go below, and what to do on the way back: (kind, container to return to, a number)."""
        kind = KINDS.get(tag, 0)
        if kind == SKIP:
            return False, None
        if tag in PRUNED:
            self.pruned += 1
            return False, None
        if kind == LINK:
            self._link_depth += 1
            self._links += 1
            if self._heading:
                target = node.attributes.get("href") or "#"
                self._away = self._away or not ("#" in target or target.startswith("javascript:"))
            return True, (LINK, -1, 0)
        if kind == BREAKING:
            if tag == "hr":
                self._flush()
            else:
                self._buffer.append("\n" if self._pre else BREAK)
                self._end_line()
            return False, None
        attributes = node.attributes
        names = f"{attributes.get('class') or ''} {attributes.get('id') or ''}" if attributes else " "
        if kind == 0:
            return self._inline(node, tag, attributes, names)
        if kind == SCRIPT:
            self._script(node)
            return False, None
        if kind == MATH:
            self._formula(mathml.mathml_to_tex(node), mathml.is_display(node))
            return False, None
        if kind == MATHJAX:
            self._mathjax(node, attributes.get("display") == "true")
            return False, None
        if kind == IMAGE:
            tex = mathml.image_tex(
                attributes.get("class") or "", attributes.get("alt") or "", attributes.get("src") or ""
            )
            self._formula(tex, "display" in (attributes.get("class") or ""))
            return False, None
        if kind == SCRIPT_MARK:
            if self._pre or self._code:
                return True, None
            if "reference" in names or "footnote" in names or "noprint" in names:
                return False, None
            self._buffer.append(SUB_OPEN if tag == "sub" else SUP_OPEN)
            return True, (SCRIPT_MARK, -1, 0)
        if kind == CODE:
            if self._pre or self._code:
                return True, None
            self._code += 1
            self._buffer.append(CODE_OPEN)
            return True, (CODE, -1, 0)
        if kind == BUTTON:
            if OPENS.search(names):
                self._flush()
                return True, (BLOCK, self._push(tag, "", frozenset(), "", names), 0)
            return (self._heading > 0 or mathml.flat(node).endswith("?")), None
        if names != " " and "katex-display" not in names and self._renderer(node, names):
            return False, None
        return self._open(node, tag, kind, attributes, names)

    def _inline(
        self, node: LexborNode, tag: str, attributes: dict[str, str | None], names: str
    ) -> tuple[bool, tuple[int, int, int] | None]:
        if names != " " and (self._renderer(node, names) or "mw-editsection" in names):
            return False, None
        if tag in SHOWN_INLINE or tag not in KINDS:
            if attributes and (
                "itemprop" in attributes
                or "property" in attributes
                or "itemtype" in attributes
                or "typeof" in attributes
            ):
                role = _role(attributes)
                if role and (role not in ("name", "text") or self._inside_question()):
                    self._flush()
                    return True, (BLOCK, self._push(tag, "", frozenset(), role, names), 0)
            if attributes and "style" in attributes and HIDDEN_STYLE.search(attributes["style"] or ""):
                flags = boilerplate.names(tag, names)[1]
                if "openable" not in flags and "answer" not in flags:
                    return False, None
        if tag in BOLD:
            self._bold += 1
            return True, (STRONG, -1, 0)
        return True, None

    def _open(
        self, node: LexborNode, tag: str, kind: int, attributes: dict[str, str | None], names: str
    ) -> tuple[bool, tuple[int, int, int] | None]:
        self._flush()
        reason, flags = boilerplate.names(tag, names) if names != " " else ("", frozenset())
        role = ""
        if attributes:
            aria = attributes.get("role") or ""
            reason = reason or DROPPED_ROLES.get(aria, "")
            hidden = "hidden" in attributes or HIDDEN_STYLE.search(attributes.get("style") or "")
            if hidden and not self._may_be_opened(node, flags):
                reason = "hidden"
            role = _role(attributes)
            if role in ("name", "text") and not self._inside_question():
                role = ""
        if kind == DROPPED:
            reason = reason or ("frame" if tag == "footer" else "navigation" if tag == "nav" else "aside")
        elif tag == "header" and self._here == 0:
            reason = reason or "frame"
        if "accepted" in flags:
            self.accepted = True
        if role and reason != "hidden":
            reason = ""
        number = 0
        if kind == HEADING:
            self._heading = int(tag[1])
        elif kind == LIST:
            start = attributes.get("start") or ""
            self._lists.append(
                [
                    ORDERED.get(attributes.get("type") or "1", 1) if tag == "ol" else 0,
                    int(start) - 1 if re.fullmatch(r"-?\d{1,6}", start) else 0,
                ]
            )
        elif kind == ITEM:
            if not self._lists:
                self._lists.append([0, 0])
            ordered = self._lists[-1]
            ordered[1] += 1
            lettered = ordered[0] > 1 and 1 <= ordered[1] <= 26
            self._label = (chr(ordered[0] + ordered[1] - 1) if lettered else str(ordered[1])) if ordered[0] else ""
            self._marker = "  " * (min(len(self._lists), 8) - 1) + (f"{self._label}. " if ordered[0] else "- ")
        elif kind == PRE:
            self._pre += 1
        elif kind == ROW:
            number = self._row
            self._row = self._rows
            self._rows += 1
        if kind == CELL and self._row < 0:
            kind = BLOCK
        if tag in CONTAINER_TAGS or reason or role or flags or names != " ":
            outer = self._push(tag, reason, flags, role, names)
            return True, (kind, outer, number)
        return True, (kind, -1, number)

    def _push(self, tag: str, reason: str, flags: frozenset[str], role: str, names: str) -> int:
        outer = self._here
        self.containers.append(Container(outer, tag, len(self.blocks), flags, role, own_drop=reason, names=names))
        self._here = len(self.containers) - 1
        return outer

    def _leave(self, frame: tuple[int, int, int]) -> None:
        kind, outer, number = frame
        if kind == LINK:
            self._link_depth -= 1
            return
        if kind == STRONG:
            self._bold -= 1
            return
        if kind == SCRIPT_MARK:
            self._buffer.append(SCRIPT_CLOSE)
            return
        if kind == CODE:
            self._code -= 1
            self._buffer.append(CODE_CLOSE)
            return
        self._flush()
        if kind == HEADING:
            self._heading = 0
        elif kind == LIST:
            self._lists.pop()
        elif kind == ITEM:
            self._marker = self._label = ""
        elif kind == PRE:
            self._pre -= 1
        elif kind == ROW:
            self._close_row(number)
        if outer >= 0:
            self.containers[self._here].last = len(self.blocks)
            self._here = outer

    def _close_row(self, outer_row: int) -> None:
        """A row whose cells hold one block each is a table row; others are layout, and their blocks stand alone."""
        row, first = self._row, self.containers[self._here].first
        cells: Counter[int] = Counter()
        layout = False
        for block in self.blocks[first:]:
            if block.row == row:
                cells[block.container] += 1
                layout = layout or block.kind in ("code", "heading") or len(block.text) > 2_000
            elif block.row >= 0:
                layout = True
        if layout or len(cells) < 2 or max(cells.values()) > 1:
            for block in self.blocks[first:]:
                if block.row == row:
                    block.row = -1
                    block.kind = "paragraph" if block.kind == "cell" else block.kind
        self._row = outer_row

    # -- blocks ------------------------------------------------------------------------------------------------

    def _flush(self) -> None:
        """Ends the current block."""
        if not self._buffer:
            return
        raw = "".join(self._buffer)
        self._buffer.clear()
        if raw.isspace():
            return
        link_chars, links, math = self._link_chars, self._links, self._math
        self._link_chars = self._links = self._math = 0
        self._end_line()
        bold, away = self._bold_lines, self._away
        self._bold_lines, self._plain, self._away = 0, False, False
        if self._pre:
            text = re.sub(r"[ \t]+(?=\n|$)", "", raw.replace("\r\n", "\n").replace("\r", "\n")).strip("\n")
            text = re.sub(f"[{SUB_OPEN}{SUP_OPEN}{SCRIPT_CLOSE}{CODE_OPEN}{CODE_CLOSE}]", "", text).replace(BREAK, "\n")
            if text.strip():
                self.blocks.append(Block("code", mathml.finished(text), self._here))
            return
        text = " ".join(JUNK_CHARS.sub("", raw).split())
        if BREAK in text:
            text = BREAKS.sub(BREAK, text).strip(BREAK + " ")
        if not text:
            return
        text = mathml.delimited(text)
        text = mathml.scripted(text)
        math += text.count(INLINE_OPEN) + text.count(DISPLAY_OPEN)
        text = mathml.finished(text).replace(BREAK, "\n").replace("``", "")
        if not text.strip():
            return
        block = Block("paragraph", text, self._here, link_chars=link_chars, links=links, math=math, bold=bold, away=away)
        if self._heading:
            block.kind, block.level, block.marker = "heading", self._heading, "#" * self._heading + " "
        elif self._marker:
            block.kind, block.marker = "item", self._marker
        elif self._row >= 0:
            block.kind = "cell"
        if self._row >= 0:
            block.row = self._row
        block.label, self._label = self._label, ""
        self._marker = ""
        self.blocks.append(block)

    def _formula(self, tex: str, display: bool) -> None:
        if not tex:
            return
        if self._pre or self._code:
            self._buffer.append(tex)
        elif display:
            self._buffer.append(f"{DISPLAY_OPEN}{tex}{DISPLAY_CLOSE}")
        else:
            self._buffer.append(f"{INLINE_OPEN}{tex}{INLINE_CLOSE}")

    # -- renderers' containers, scripts, markup ------------------------------------------------------------------

    def _renderer(self, node: LexborNode, names: str) -> bool:
        """Handles an element that a mathematics renderer made; False for all others."""
        if "katex" in names:
            tokens = names.split()
            if "katex" in tokens or "katex-mathml" in tokens:
                parent = node.parent
                display = parent is not None and "katex-display" in (parent.attributes.get("class") or "")
                found = mathml.find(node, frozenset({"math"}))
                if found:
                    self._formula(mathml.mathml_to_tex(found[0]), display or mathml.is_display(found[0]))
                    return True
                return "katex-mathml" in tokens
            return "katex-html" in tokens
        if "MathJax" in names:
            tokens = names.split()
            if "MathJax_Preview" in tokens:
                return _script_follows(node)
            if not {
                "MathJax",
                "MathJax_Display",
                "MathJax_SVG",
                "MathJax_CHTML",
                "MathJax_SVG_Display",
                "MathJax_PHTML",
            }.isdisjoint(tokens):
                if not _script_follows(node):
                    self._mathjax(node, any("Display" in token for token in tokens))
                return True
            return "MJX_Assistive_MathML" in tokens
        if "mwe-math-element" in names:
            found = mathml.find(node, frozenset({"math"}))
            if found:
                display = mathml.is_display(found[0]) and "mwe-math-element-inline" not in names
                self._formula(mathml.mathml_to_tex(found[0]), display)
                return True
        return False

    def _mathjax(self, node: LexborNode, display: bool) -> None:
        """A rendered MathJax 2 or 3 formula without its script: from its assistive MathML."""
        found = mathml.find(node, frozenset({"math"}))
        if found:
            self._formula(mathml.mathml_to_tex(found[0]), display or mathml.is_display(found[0]))
            return
        for candidate in [node, *mathml.find(node, frozenset({"span"}))]:
            source = candidate.attributes.get("data-mathml")
            if source:
                self._mathml_text(source, display)
                return
        self._formula(mathml.clean_tex(node.attributes.get("data-latex") or ""), display)

    def _mathml_text(self, source: str, display: bool) -> None:
        root = LexborHTMLParser(source[:200_000]).root
        found = mathml.find(root, frozenset({"math"})) if root is not None else []
        if found:
            self._formula(mathml.mathml_to_tex(found[0]), display or mathml.is_display(found[0]))

    def _script(self, node: LexborNode) -> None:
        kind = (node.attributes.get("type") or "").lower()
        if kind.startswith("math/tex"):
            tex = re.sub(r"^\s*(?:%\s*)?<!\[CDATA\[|(?:%\s*)?\]\]>\s*$", "", node.text(deep=True))
            self._formula(mathml.clean_tex(tex), "mode=display" in kind.replace(" ", ""))
        elif kind.startswith("math/mml"):
            self._mathml_text(node.text(deep=True), "display" in kind)
        elif kind == "application/ld+json":
            text = node.text(deep=True)
            if "Question" in text or "FAQPage" in text or "QAPage" in text:
                self.json_ld.append(text)

    def _inside_question(self) -> bool:
        index = self._here
        while index >= 0:
            if self.containers[index].role in ("Question", "Answer", "acceptedAnswer", "suggestedAnswer"):
                return True
            index = self.containers[index].parent
        return False

    def _may_be_opened(self, node: LexborNode, flags: frozenset[str]) -> bool:
        """Whether hidden content belongs to the page's content: an answer, or a panel the reader opens."""
        if "answer" in flags or "openable" in flags:
            return True
        index = self._here
        while index >= 0:
            container = self.containers[index]
            if container.tag == "details" or container.role or container.flags & {"answer", "openable"}:
                return True
            index = container.parent
        return any(REVEAL.search(text) for text in _before(node))


REVEAL = re.compile(r"\b(?:show|see|view|reveal|check|display|hide)\b.{0,20}\b(?:answer|solution|explanation|hint|working)|^(?:answer|solution)s?\W*$",
                    re.IGNORECASE)  # fmt: skip


def _before(node: LexborNode) -> list[str]:
    """Short texts of the two elements before a hidden one: its opener, where it has one."""
    texts: list[str] = []
    previous, steps = node.prev, 0
    while previous is not None and steps < 4 and len(texts) < 2:
        if previous.tag in ("button", "a", "p", "span", "label", "h3", "h4", "h5", "div"):
            text = mathml.flat(previous)
            if len(text) < 60:
                texts.append(text)
        previous, steps = previous.prev, steps + 1
    return texts


def _script_follows(node: LexborNode) -> bool:
    """Whether the script that holds a rendered formula's TeX comes next."""
    following, steps = node.next, 0
    while following is not None and steps < 6:
        if following.tag == "script":
            return (following.attributes.get("type") or "").startswith("math/")
        if following.tag == "-text" and (following.text_content or "").strip():
            return False
        if following.is_element_node and "MathJax" not in (following.attributes.get("class") or ""):
            return False
        following, steps = following.next, steps + 1
    parent = node.parent
    if parent is not None and "MathJax_Display" in (parent.attributes.get("class") or ""):
        return _script_follows(parent)
    return False


def _role(attributes: dict[str, str | None]) -> str:
    """The part an element plays in schema.org markup (microdata or RDFa), "" for none."""
    prop = (attributes.get("itemprop") or attributes.get("property") or "").split()
    name = prop[0].rpartition(":")[2] if prop else ""
    if name in ("acceptedAnswer", "suggestedAnswer"):
        return name
    kind = attributes.get("itemtype") or attributes.get("typeof") or ""
    if kind and (found := SCHEMA.search(kind.strip())):
        return found[1] or found[2]
    return name if name in PROPERTIES else ""


def _lines(layout: Layout) -> tuple[str, list[Line]]:
    """The page's text from its kept blocks, whose offsets are set here."""
    parts: list[str] = []
    lines: list[Line] = []
    position = 0
    row = -1

    def add(text: str) -> int:
        nonlocal position
        start = position
        parts.append(text)
        position += len(text)
        return start

    for index, block in enumerate(layout.blocks):
        if block.dropped:
            continue
        if block.row >= 0 and block.row == row:  # another cell of the same line
            add(" | ")
            block.start = add(block.text.replace("\n", " "))
            block.end = position
            lines[-1] = lines[-1]._replace(end=position, kind="row")
            continue
        row = block.row
        if lines:
            add("\n")
        fence = block.kind == "code"
        if fence:
            start = add("```")
            lines.append(Line(start, start, position, index, "fence"))
            add("\n")
        block.start = position + len(block.marker)
        pieces = block.text.replace("\n", " ").split("\n") if block.row >= 0 else block.text.split("\n")
        for number, piece in enumerate(pieces):
            if number:
                add("\n")
            start = position
            marker = block.marker if number == 0 else ""
            add(marker + piece)
            lines.append(Line(start, start + len(marker), position, index, block.kind))
        block.end = position
        if fence:
            add("\n")
            start = add("```")
            lines.append(Line(start, start, position, index, "fence"))
            block.start, block.end = block.start - 4, position  # a pair's code keeps its fence
    return "".join(parts), lines


def _language(declared: str, text: str) -> str:
    """ISO 639-1 code: what the page declares, else what its words look like, else ""."""
    code = re.split(r"[-_]", declared.strip().lower())[0]
    if re.fullmatch(r"[a-z]{2,3}", code):
        return code
    if len(text) < 40:
        return ""
    from py3langid.langid import classify

    return str(classify(text[:2_000])[0])
