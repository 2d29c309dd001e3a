"""Several servers of one model behind one client: each request goes to the least loaded of those that answer.

A server that cannot be reached, or answers 5xx, is left out and asked for its list of models every ``PROBE_SECONDS`` until it
answers again; where all are left out, all are tried. Trying again is the client's: its next attempt meets another server.
"""

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import httpx2 as httpx

if TYPE_CHECKING:
    from openai import DefaultAsyncHttpxClient

LOOPBACK = {"127.0.0.1", "localhost", "::1"}
PROBE_SECONDS = 5.0
CONNECT_SECONDS = 10.0


def http_client(urls: Sequence[str], api_key: str | None) -> "DefaultAsyncHttpxClient":
    """For ``openai``: its requests to the first of ``urls`` go to any of them, and nowhere else by a redirect."""
    from openai import DefaultAsyncHttpxClient

    if len(urls) > 1:
        return DefaultAsyncHttpxClient(transport=Balanced(urls, api_key), follow_redirects=False)
    # A proxy from the environment must not get requests for this machine.
    direct = (urlsplit(urls[0]).hostname or "") in LOOPBACK
    return DefaultAsyncHttpxClient(trust_env=not direct, follow_redirects=False)


class Balanced(httpx.AsyncBaseTransport):
    """Sends requests for the first of ``urls`` to the one that has the fewest in flight."""

    def __init__(self, urls: Sequence[str], api_key: str | None):
        self._urls = [url.rstrip("/") for url in urls]
        self._headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        # As many connections as the caller has requests in flight: it is the one that limits them.
        self._http = httpx.AsyncHTTPTransport(limits=httpx.Limits(max_connections=None, max_keepalive_connections=None))
        self._busy = dict.fromkeys(self._urls, 0)
        self._out: dict[str, asyncio.Task[None]] = {}

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        url = min([url for url in self._urls if url not in self._out] or self._urls, key=self._busy.__getitem__)
        path = str(request.url).removeprefix(self._urls[0])
        sent = httpx.Request(
            request.method, url + path, headers=_without_host(request.headers), content=request.content,
            extensions={**request.extensions, "timeout": _bounded(request.extensions["timeout"])},
        )  # fmt: skip
        self._busy[url] += 1
        try:
            response = await self._http.handle_async_request(sent)  # whose body comes with its head
        except httpx.TransportError:
            self._leave_out(url)
            raise
        finally:
            self._busy[url] -= 1
        if response.status_code >= 500:
            self._leave_out(url)
        return response

    def _leave_out(self, url: str) -> None:
        if url not in self._out:
            self._out[url] = asyncio.create_task(self._until_well(url))

    async def _until_well(self, url: str) -> None:
        while True:
            await asyncio.sleep(PROBE_SECONDS)
            extensions = {"timeout": httpx.Timeout(CONNECT_SECONDS).as_dict()}
            try:
                answer = await self._http.handle_async_request(
                    httpx.Request("GET", f"{url}/models", headers=self._headers, extensions=extensions)
                )
                await answer.aread()
            except httpx.TransportError:
                continue
            if answer.status_code < 500:
                del self._out[url]
                return

    async def aclose(self) -> None:
        for task in self._out.values():
            task.cancel()
        await self._http.aclose()


def _without_host(headers: httpx.Headers) -> httpx.Headers:
    return httpx.Headers([(name, value) for name, value in headers.raw if name.lower() != b"host"])


def _bounded(timeout: dict[str, float | None]) -> dict[str, float | None]:
    """An answer may take half an hour, a connection not."""
    return {**timeout, "connect": min(timeout.get("connect") or CONNECT_SECONDS, CONNECT_SECONDS)}
