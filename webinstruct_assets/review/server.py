"""The review page's server.

GET / shows the sample of ``quality_review`` with the reviewer's verdicts so far; POST /reviews adds one verdict to the
reviewer's file. Nothing is written by GET. Every request needs the token that is in the printed URL, and a loopback Host:
a page of another site, open in the same browser, can neither read nor write here.
"""

import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Any

from webinstruct_assets.core import loopback
from webinstruct_assets.core.errors import BadInput
from webinstruct_assets.core.keys import PartitionKey
from webinstruct_assets.core.workspace import Workspace
from webinstruct_assets.review.difference import difference, marked
from webinstruct_assets.stages.review import reviews as records
from webinstruct_assets.stages.review.quality_review import QUALITY_REVIEW
from webinstruct_assets.stages.review.reviews import CATEGORIES, MAX_NOTE, Review

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response

TEMPLATE = Path(__file__).parent / "page.html"
MAX_BODY = 64 << 10  # bytes


def sampled_pairs(ws: Workspace, snapshot: str) -> list[dict[str, Any]]:
    """Rows of the snapshot's ``quality_review``. Raises MissingInput when it was never materialized."""
    ref = QUALITY_REVIEW.ref(PartitionKey.of({"snapshot": snapshot}))
    return ws.lake.read(ws.lake.require(ref, "webinstruct review")).to_dicts()


def review_app(ws: Workspace, snapshot: str, reviewer: str, token: str) -> "Starlette":
    """The application for one snapshot and one reviewer."""
    from starlette.responses import HTMLResponse, JSONResponse
    from starlette.routing import Route

    pairs = sampled_pairs(ws, snapshot)
    shown = {pair["parent_id"]: records.content_digest(pair["question"], pair["answer"]) for pair in pairs}
    folder = ws.path(ws.config.review.folder)
    path = records.review_file(folder, snapshot, reviewer)

    def refused(given: str | None) -> "Response | None":
        if secrets.compare_digest((given or "").encode(), token.encode()):
            return None
        return JSONResponse({"problem": "wrong or missing token; open the URL that the command printed"}, 403)

    def page(request: "Request") -> "Response":
        if answer := refused(request.query_params.get("token")):
            return answer
        nonce = secrets.token_urlsafe(16)
        given = records.latest(records.read(path)) if path.exists() else {}
        own = {name: review for name, review in given.items() if review.content == shown.get(name)}
        content = render(pairs, own, snapshot=snapshot, reviewer=reviewer, token=token, nonce=nonce)
        own_only = f"style-src 'nonce-{nonce}'; script-src 'nonce-{nonce}'; connect-src 'self'"
        return HTMLResponse(content, headers=loopback.headers(own_only))

    async def add(request: "Request") -> "Response":
        if answer := refused(request.headers.get("x-review-token")):
            return answer
        body = await request.body()
        if len(body) > MAX_BODY:
            return JSONResponse({"problem": f"more than {MAX_BODY} bytes"}, 413)
        try:
            review = read_verdict(body, shown, reviewer)
        except BadInput as error:
            return JSONResponse({"problem": error.problem}, 422)
        records.append(folder, snapshot, review)
        return JSONResponse({"pair": review.pair, "category": review.category}, 201)

    return loopback.application([Route("/", page, methods=["GET"]), Route("/reviews", add, methods=["POST"])])


def read_verdict(body: bytes, shown: dict[str, str], reviewer: str) -> Review:
    """A posted verdict (JSON with pair, category, note). Raises BadInput naming the field."""
    import json

    from pydantic import ValidationError

    fix = "reload the page"
    try:
        sent = json.loads(body)
        pair = sent["pair"]
        review = Review(
            pair=pair,
            content=shown[pair],
            category=sent["category"],
            note=sent.get("note", ""),
            reviewer=reviewer,
            at=records.now(),
        )
    except ValidationError as error:
        first = error.errors()[0]
        raise BadInput(f"field {first['loc'][0]}: {first['msg']}", fix) from error
    except (ValueError, TypeError, AttributeError) as error:
        raise BadInput(f"not a JSON object: {error}", fix) from error
    except KeyError as error:
        raise BadInput(f"field pair or category: {error} is missing, or no pair of this sample", fix) from error
    return review


def render(
    pairs: list[dict[str, Any]], given: dict[str, Review], *, snapshot: str, reviewer: str, token: str, nonce: str
) -> str:
    """The page. Every text in it comes from the web and is escaped by the template."""
    from jinja2 import Environment

    template = Environment(autoescape=True).from_string(TEMPLATE.read_text(encoding="utf-8"))
    items = [
        {
            "pair": pair,
            "excerpt": marked(pair["excerpt"], {"q": pair["question_spans"], "a": pair["answer_spans"]}),
            "question": difference(pair["original_question"], pair["question"]),
            "answer": difference(pair["original_answer"], pair["answer"]),
            "given": given.get(pair["parent_id"]),
        }
        for pair in pairs
    ]
    return template.render(
        items=items,
        categories=CATEGORIES,
        snapshot=snapshot,
        reviewer=reviewer,
        token=token,
        nonce=nonce,
        max_note=MAX_NOTE,
    )


def serve(ws: Workspace, snapshot: str, reviewer: str, port: int, say: Any) -> None:
    """Runs until interrupted, on loopback only. Raises ConfigError when the port is taken."""
    token = secrets.token_urlsafe(24)
    app = review_app(ws, snapshot, reviewer, token)
    listening = loopback.listen(port)
    say(f"review {snapshot} as {reviewer}: {loopback.url(listening)}?token={token}  (Ctrl-C ends it)")
    loopback.serve(app, listening)
    say(f"afterwards: webinstruct run --snapshot {snapshot} --select quality_review")
