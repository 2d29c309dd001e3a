"""Our own pages on loopback: one port each, closed after an interrupt; headers and hosts are tested with the pages."""

import signal
import threading

import httpx
import pytest
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from webinstruct_assets.core import loopback
from webinstruct_assets.core.errors import ConfigError


def test_serving_until_interrupted() -> None:
    app = loopback.application([Route("/", lambda request: PlainTextResponse("here"))])
    listening = loopback.listen(0)
    address = loopback.url(listening)
    with pytest.raises(ConfigError, match="in use"):
        loopback.listen(listening.getsockname()[1])
    answers: list[str] = []

    def visit() -> None:
        answers.append(httpx.get(address).text)
        signal.raise_signal(signal.SIGINT)

    threading.Thread(target=visit).start()
    loopback.serve(app, listening)
    assert answers == ["here"]
    with pytest.raises(httpx.ConnectError):
        httpx.get(address)
