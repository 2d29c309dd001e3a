"""One main-text tool as a process: reads pages once, then runs over all of them each time it is told to.

python extract_pages.py TOOL PAGES    (TOOL: ours | trafilatura | trafilatura_fast | resiliparse; PAGES: a pickle)

Runs in the tool's own environment, so it imports nothing but the tool. Each line on standard input is one run: "texts PATH"
also stores the texts (JSON); the answer is a line with the CPU seconds that extraction took.
"""

import gc
import json
import pickle
import sys
import time
from collections.abc import Callable

Extract = Callable[[bytes, str, "str | None"], str]


def tool(name: str) -> Extract:
    """The extraction function of a tool, on the bytes a crawler stored."""
    if name == "ours":
        from webinstruct_assets.stages.pages.document import PageRejected
        from webinstruct_assets.stages.pages.html import extract_page

        def ours(html: bytes, url: str, content_type: str | None) -> str:
            try:
                return extract_page(html, url=url, content_type=content_type).text
            except PageRejected:
                return ""

        return ours
    if name.startswith("trafilatura"):
        from trafilatura import extract

        fast = name.endswith("fast")
        return lambda html, url, _: extract(html, url=url, fast=fast) or ""
    from resiliparse.extract.html2text import extract_plain_text
    from resiliparse.parse.encoding import detect_encoding

    return lambda html, url, _: extract_plain_text(
        html.decode(detect_encoding(html), "replace"), main_content=True, preserve_formatting=True
    )


def main(name: str, pages_path: str) -> None:
    """Answers runs until standard input ends."""
    with open(pages_path, "rb") as stream:
        pages = pickle.load(stream)
    extract = tool(name)
    for line in sys.stdin:
        command = line.split()
        texts = []
        gc.collect()
        started = time.process_time()
        for url, html, content_type in pages:
            texts.append(extract(html, url, content_type))
        seconds = time.process_time() - started
        if command[0] == "texts":
            with open(command[1], "w", encoding="utf-8", errors="replace") as stream:
                json.dump(texts, stream)
        print(seconds, flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
