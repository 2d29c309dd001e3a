"""Web pages of our own: served on loopback, under no other host name, and with nothing from elsewhere.

A page of another site, open in the same browser, must neither read nor write here: put what keeps it out here, once.
"""

import socket
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from webinstruct_assets.core.errors import ConfigError

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.routing import BaseRoute

ADDRESS = "127.0.0.1"
HOSTS = [ADDRESS, "localhost"]


def application(routes: Sequence["BaseRoute"]) -> "Starlette":
    """The routes, for requests whose Host is loopback; others (DNS rebinding) are answered with 400."""
    from starlette.applications import Starlette
    from starlette.middleware import Middleware
    from starlette.middleware.trustedhost import TrustedHostMiddleware

    return Starlette(routes=routes, middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=HOSTS)])


def headers(allowed: str) -> dict[str, str]:
    """Headers of a page that may load ``allowed`` (directives of a content security policy) and nothing else.

    It is in no frame, sends no form, passes its address on to nobody and is kept in no cache.
    """
    closed = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    return {
        "Content-Security-Policy": f"{closed}; {allowed}",
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
        "Cache-Control": "no-store",
    }


def listen(port: int) -> socket.socket:
    """A listening socket on loopback; ``port`` 0 takes a free one. Raises ConfigError when the port is taken."""
    try:
        return socket.create_server((ADDRESS, port))
    except OSError as error:
        raise ConfigError(f"port {port} of {ADDRESS}: {error.strerror}", "give another one with --port") from error


def url(listening: socket.socket) -> str:
    """Where a socket of ``listen`` is reached."""
    return f"http://{ADDRESS}:{listening.getsockname()[1]}/"


def serve(app: "Starlette", listening: socket.socket) -> None:
    """Answers requests until the process is interrupted, then closes the socket."""
    import uvicorn

    with listening, suppress(KeyboardInterrupt):  # uvicorn raises the signal again that ended it
        uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False)).run([listening])
