"""Hostile pages from a seed, and a process that reads them: fuzzed, truncated, nested, huge, broken in their bytes.

python -m webinstruct_assets_tests.stages.pages.hostile SEED COUNT    (prints counts of outcomes as JSON)

A process of its own, because a crash of compiled code would take the test run with it. Memory is limited, time is
measured; a page must end in a Page that adds up or in a PageRejected.
"""

import json
import random
import resource
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator

from webinstruct_assets.stages.pages.document import PageRejected
from webinstruct_assets.stages.pages.html import extract_page
from webinstruct_assets_tests.stages.pages.test_html import PIECES, SEEDS, check_page
from webinstruct_assets_tests.stages.pages.test_math import CORPUS

MAX_SECONDS = 12.0  # of CPU time: the limit of a page, and the step that was running when it passed
MAX_MEMORY = 6 << 30  # address space; the compiler alone maps over a gigabyte
TAGS = (  # noqa: SIM905
    "p div span a b i font nobr table tbody tr td th caption colgroup ul ol li dl dt dd h1 h2 h3 form button select option optgroup "
    "textarea input pre code sub sup math mi mrow mfrac annotation-xml svg foreignObject title desc style script noscript template "
    "iframe details summary frameset frame plaintext xmp marquee object body html head nav footer aside br hr img mjx-container"
).split()
NAMES = ("answer", "question", "post accepted", "katex", "katex-html", "katex-display", "MathJax", "MathJax_Preview", "mwe-math-element",
         "MJX_Assistive_MathML", "sidebar", "faq accordion", "nav", "spoiler", "content", "\u212aelvin", "a" * 300)  # fmt: skip
ATTRIBUTES = (
    "class",
    "id",
    "style",
    "role",
    "hidden",
    "itemprop",
    "itemtype",
    "start",
    "type",
    "lang",
    "alt",
    "src",
    "display",
    "alttext",
)
VALUES = ("display:none", "https://schema.org/Question", "https://schema.org/Answer", "text", "name", "acceptedAnswer", "math/tex",
          "math/tex; mode=display", "application/ld+json", "-999999", "99999999999", "a", "block", "\\frac{a}{b}", "x?latex=\\", "", "\"'<>&")  # fmt: skip
TEXTS = ("What is it?", "Answer: 4", "Q: a? A: b", "$x^2$", "\\(", "\\[ a \\]", "$", "&nbsp;", "&#0;", "&#xD800;", "&notit;", "\ue000\ue00a", "1. ", "`x^2`",
         "\u2028", "\u200d", "é" * 50, "漢字", "\U0001f600", "<", "]]>", "-->", "\x00", " ")  # fmt: skip


def _tag(chance: random.Random) -> str:
    out = "<" + chance.choice(TAGS)
    for _ in range(chance.choice((0, 0, 1, 1, 2, 5))):
        quote = chance.choice(("'", '"', ""))
        value = chance.choice(NAMES if chance.random() < 0.5 else VALUES).replace(
            "\"'<>&", "x" if not quote else "&lt;"
        )
        out += f" {chance.choice(ATTRIBUTES)}={quote}{value}{quote}"
    return out + chance.choice((">", ">", ">", ">", "/>", "", " "))


def _soup(chance: random.Random) -> bytes:
    pieces = []
    for _ in range(chance.randint(1, 400)):
        roll = chance.random()
        if roll < 0.4:
            pieces.append(_tag(chance))
        elif roll < 0.65:
            pieces.append(f"</{chance.choice(TAGS)}>")
        else:
            pieces.append(chance.choice(TEXTS))
    return "".join(pieces).encode("utf-8", "replace")


def _fuzzed(chance: random.Random) -> bytes:
    html = bytearray(
        chance.choice(SEEDS).encode() if chance.random() < 0.5 else chance.choice(list(CORPUS.values()))[0].encode()
    )
    for _ in range(chance.randint(1, 30)):
        place = chance.randrange(len(html) + 1)
        match chance.randrange(5):
            case 0:
                html[place:place] = chance.choice(PIECES)
            case 1:
                del html[place : place + chance.randint(1, 30)]
            case 2:
                html[place : place + 1] = bytes([chance.randrange(256)])
            case 3:
                html[place:place] = html[: chance.randrange(len(html) + 1)]
            case _:
                html = html[: max(place, 10)]
    return bytes(html[:200_000])


def _nested(chance: random.Random) -> bytes:
    tags = [_tag(chance) for _ in range(chance.randint(1, 4))]
    return ("".join(tags) * chance.choice((10, 100, 700, 2_500))).encode("utf-8", "replace") + chance.choice(
        (b"x", b"</div>" * 100, b"")
    )


def _repeated(chance: random.Random) -> bytes:
    return _soup(chance)[: chance.randint(5, 60)] * chance.choice((50, 500, 2_000))


def _bomb(chance: random.Random) -> bytes:
    """Open formatting elements that every paragraph opens again."""
    count = chance.choice((20, 200, 600))
    tag = chance.choice(("b", "a", "font", "nobr", "code"))
    opened = "".join(f"<{tag} id={number}>" for number in range(count))
    return f"<p>{opened}{'</p><p>x' * count}".encode()


def _attribute(chance: random.Random) -> bytes:
    value = chance.choice(("a", "a-", "b ", "katex", "$x$", "\\", "&amp;", "é", "]")) * chance.choice(
        (1_000, 30_000, 500_000)
    )
    return f'<{chance.choice(TAGS)} {chance.choice(ATTRIBUTES)}="{value}">What?<p>x{value[:50_000]}'.encode()


def _bytes(chance: random.Random) -> bytes:
    return chance.choice(
        (b"", b"<p>", b"\xff\xfe", b"\xfe\xff", b"\xef\xbb\xbf", b"<meta charset=shift_jis>")
    ) + chance.randbytes(chance.randint(1, 3_000))


def _broken(chance: random.Random) -> bytes:
    html = bytearray(chance.choice(SEEDS).encode() * chance.randint(1, 4))
    for _ in range(chance.randint(1, 60)):
        html[chance.randrange(len(html))] = chance.choice((0x00, 0x80, 0xC3, 0xE2, 0xED, 0xF0, 0xFF, 0x1A, 0x0C))
    return bytes(html)


MAKERS: tuple[Callable[[random.Random], bytes], ...] = (
    _soup, _soup, _soup, _fuzzed, _fuzzed, _nested, _repeated, _bomb, _attribute, _bytes, _broken,
)  # fmt: skip
TYPES = (
    None,
    "text/html",
    "text/html; charset=utf-8",
    "text/html; charset=utf-16",
    "text/html; charset=gbk",
    "text/html; charset=\x00;;=",
    "",
)


def hostile_pages(seed: int, count: int) -> Iterator[tuple[bytes, str | None]]:
    """``count`` pages (payload, Content-Type), the same ones for the same seed."""
    chance = random.Random(seed)
    for _ in range(count):
        yield chance.choice(MAKERS)(chance), chance.choice(TYPES)


def main(seed: int, count: int) -> None:
    """Reads the pages; any other exception than PageRejected ends the process with a traceback."""
    resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY, MAX_MEMORY))
    outcomes: Counter[str] = Counter()
    slowest = 0.0
    extract_page(b"<p>x", url="https://hostile.example/")
    for number, (html, content_type) in enumerate(hostile_pages(seed, count)):
        started = time.process_time()
        try:
            check_page(extract_page(html, url=f"https://hostile.example/{number}", content_type=content_type))
            outcomes["page"] += 1
        except PageRejected as rejected:
            outcomes[rejected.reason] += 1
        except BaseException:
            print(f"page {number} of seed {seed}: {html[:300]!r} {content_type}", file=sys.stderr)
            raise
        took = time.process_time() - started
        slowest = max(slowest, took)
        if took > MAX_SECONDS:
            raise SystemExit(f"page {number} of seed {seed} took {took:.1f} s: {html[:300]!r}")
        if took > 1 and "-v" in sys.argv:
            print(f"page {number}: {took:.1f} s, {len(html):,} bytes, {html[:120]!r}", file=sys.stderr)
    print(json.dumps({"outcomes": outcomes, "slowest": slowest}))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
