"""The demo crawl: the repository's own small web as a snapshot in Common Crawl's layout, and its gold files.

In: ``data/demo/web`` and ``data/demo/layouts``. Out: a snapshot with four WARC files in two segments, WET files
and index; and on command the gold files beside the sources::

    python -m webinstruct_assets.stages.crawl.demo gold     writes gold.jsonl and domains.jsonl
    python -m webinstruct_assets.stages.crawl.demo build    writes the snapshot

gold.jsonl, one pair per line: url, host, pair (number on its page), question, answer (white space folded, TeX as
``$…$``), subject, level, written (individually | generated), question_page, contaminated (ids of benchmark items that
the page repeats), mirror_of (URL of the page that this one copies, or null), duplicate_of (``url#pair`` of the pair
that this one copies, word by word or reworded, or null), defect (why a filter should drop it as it stands, or null).
domains.jsonl, one host per line: host, educational, source_type, kind.

Equal sources give equal bytes.
"""

import hashlib
import json
import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from webinstruct_assets.core.keys import check_plain_snapshot
from webinstruct_assets.core.lake import write_atomically
from webinstruct_assets.stages.crawl.capture import Capture
from webinstruct_assets.stages.crawl.demo_render import Rendered, Renderer
from webinstruct_assets.stages.crawl.demo_web import LANGUAGES, DemoPage, load_demo_web, page_pairs
from webinstruct_assets.stages.crawl.writer import SEGMENT_HOURS, building, publish, write_snapshot

START = datetime(2026, 1, 12, 6, tzinfo=UTC)
FILES, SEGMENTS = 4, 2
STAMP = "demo-build.json"
# What decides the bytes of the snapshot besides the sources.
_CODE = (
    "capture.py",
    "columnar_index.py",
    "demo.py",
    "demo_math.py",
    "demo_render.py",
    "demo_web.py",
    "plain_text.py",
    "writer.py",
)
_PACKAGES = ("jinja2", "latex2mathml", "polars", "selectolax", "tldextract", "warcio")
_SERVERS = ("nginx", "Apache", "nginx/1.24.0", "Apache/2.4.57 (Debian)", "lighttpd/1.4.71")


def build_demo_crawl(demo_dir: Path, root: Path, snapshot: str = "local-demo") -> dict[str, int]:
    """Builds the demo crawl below ``root`` unless it is there already; returns its counts.

    Counts: hosts, pages (index pages included), question_pages, pairs, mirrored (pages), and write_snapshot's;
    ``built`` is 0 where the sources have not changed since the last build. Raises MissingInput or BadInput for
    the sources, Busy when another process builds the same snapshot.
    """
    stamp = root / f"crawl-data/{check_plain_snapshot(snapshot)}/{STAMP}"
    digest = _digest(demo_dir)
    if counts := _built(stamp, digest):
        return {**counts, "built": 0}
    with building(root, snapshot) as folder:
        if counts := _built(stamp, digest):  # by the process that held the lock before
            return {**counts, "built": 0}
        web = load_demo_web(demo_dir)
        rendered = Renderer(web, demo_dir / "layouts").all_pages()
        captures = sorted(map(_capture, rendered), key=lambda capture: (capture.date, capture.url))
        counts = {
            "hosts": len(web.sites),
            "pages": len(rendered),
            "question_pages": sum(page.question_page for page in web.pages),
            "pairs": sum(len(page_pairs(page)) for page in web.pages),
            "mirrored": sum(bool(page.mirror_of) for page in web.pages),
            **write_snapshot(folder, snapshot, captures, files=FILES, segments=SEGMENTS),
        }
        text = json.dumps({"digest": digest, "counts": counts}, indent=1) + "\n"
        (folder / f"crawl-data/{snapshot}/{STAMP}").write_text(text)
        publish(folder, root, snapshot, "Demo web of WebInstruct Assets")
    return {**counts, "built": 1}


def gold_pairs(demo_dir: Path) -> list[dict[str, Any]]:
    """Every gold pair, in URL order (columns: see the module). Raises MissingInput or BadInput."""
    return [
        {
            "url": page.url,
            "host": page.host,
            "pair": number,
            "question": question,
            "answer": answer,
            "subject": page.subject or None,
            "level": page.level or None,
            "written": page.written,
            "question_page": page.question_page,
            "contaminated": list(page.contaminated),
            "mirror_of": page.mirror_of or None,
            "duplicate_of": f"{page.mirror_of}#{number}" if page.mirror_of else _copied(page, number),
            "defect": page.defects.get(number),
        }
        for page in load_demo_web(demo_dir).pages
        for number, question, answer in page_pairs(page)
    ]


def _copied(page: DemoPage, number: int) -> str | None:
    return f"https://{page.copies[number]}" if number in page.copies else None


def gold_domains(demo_dir: Path) -> list[dict[str, Any]]:
    """The gold label of every host, in host order (columns: see the module)."""
    return [
        {"host": site.host, "educational": site.educational, "source_type": site.source_type, "kind": site.kind}
        for site in load_demo_web(demo_dir).sites.values()
    ]


def _built(stamp: Path, digest: str) -> dict[str, int]:
    """The counts of a finished build of these sources, {} where there is none."""
    try:
        built = json.loads(stamp.read_text())
    except (FileNotFoundError, ValueError):
        return {}
    return dict(built["counts"]) if built.get("digest") == digest else {}


def _digest(demo_dir: Path) -> str:
    digest = hashlib.sha256()
    sources = [file for part in ("web", "layouts") for file in sorted((demo_dir / part).rglob("*")) if file.is_file()]
    code = [Path(__file__).parent / name for name in _CODE]
    for name, file in [(file.relative_to(demo_dir).as_posix(), file) for file in sources] + [
        (file.name, file) for file in code
    ]:
        digest.update(f"{name}\0{hashlib.sha256(file.read_bytes()).hexdigest()}\n".encode())
    digest.update(" ".join(f"{name}={version(name)}" for name in _PACKAGES).encode())
    return digest.hexdigest()


def _capture(page: Rendered) -> Capture:
    pick = random.Random(f"fetch {page.url}")
    fetched = START + timedelta(seconds=pick.randrange(SEGMENTS * SEGMENT_HOURS * 3600))
    # Characters that the old encoding lacks are written as references, as editors of such sites do.
    payload = page.html.encode(page.charset, "xmlcharrefreplace")
    # Some servers leave the encoding to the page's own meta element.
    says_charset = page.site.language != "de" and random.Random(page.site.host).random() < 0.7
    headers = (
        ("Date", format_datetime(fetched, usegmt=True)),
        ("Server", random.Random(page.site.host).choice(_SERVERS)),
        ("Content-Type", f"text/html; charset={page.charset}" if says_charset else "text/html"),
        ("Content-Encoding", "gzip"),
        ("Vary", "Accept-Encoding"),
    )
    return Capture(
        url=page.url,
        date=fetched.strftime("%Y-%m-%dT%H:%M:%SZ"),
        headers=headers,
        payload=payload,
        languages=LANGUAGES[page.site.language],
        request=True,
    )


def _jsonl(rows: Iterator[dict[str, Any]] | list[dict[str, Any]]) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def main() -> None:
    """The commands of this module."""
    import argparse

    parser = argparse.ArgumentParser(prog="python -m webinstruct_assets.stages.crawl.demo")
    parser.add_argument("command", choices=("gold", "build"))
    parser.add_argument("--demo-dir", type=Path, default=Path("data/demo"))
    parser.add_argument("--root", type=Path, default=Path("data/crawl"), help="where build writes")
    arguments = parser.parse_args()
    if arguments.command == "build":
        print(json.dumps(build_demo_crawl(arguments.demo_dir, arguments.root)))
        return
    for name, rows in (("gold", gold_pairs(arguments.demo_dir)), ("domains", gold_domains(arguments.demo_dir))):
        write_atomically(arguments.demo_dir / f"{name}.jsonl", _jsonl(rows))
        print(f"{arguments.demo_dir}/{name}.jsonl: {len(rows)} rows")


if __name__ == "__main__":
    main()
