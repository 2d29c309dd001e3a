"""Many requests to an OpenAI-compatible endpoint: kept in flight, retried, and remembered in a ledger."""

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from webinstruct_assets.core.errors import ConfigError, DeadEndpoint
from webinstruct_assets.core.ids import digest_json
from webinstruct_assets.core.llm.ledger import Ledger

if TYPE_CHECKING:
    from openai import AsyncOpenAI

LOOPBACK = {"127.0.0.1", "localhost", "::1"}


@dataclass(frozen=True)
class LlmRequest:
    """One question: chat ``messages`` or a bare ``prompt``, never both; ``max_tokens`` bounds the answer.

    ``json_schema`` makes the endpoint decode under that schema. ``tag`` is the caller's own note (a record id).
    """

    messages: tuple[dict[str, Any], ...] | None = None
    prompt: str | None = None
    max_tokens: int = 256
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int | None = 0
    stop: tuple[str, ...] = ()
    json_schema: dict[str, Any] | None = None
    tag: str = ""

    def __post_init__(self) -> None:
        if (self.messages is None) == (self.prompt is None):
            raise ValueError("an LlmRequest has either messages or a prompt")

    def key(self, model_identity: str) -> str:
        """Digest (sha256 hex) of the model and everything in the request that bears on the answer."""
        content = {name: value for name, value in asdict(self).items() if name != "tag"}
        return digest_json({"model": model_identity, **content})


@dataclass(frozen=True)
class LlmReply:
    """An answer, or ``error`` with an empty text. Tokens are those the endpoint counted when it was asked."""

    text: str
    finish_reason: str | None
    tokens_in: int
    tokens_out: int
    error: str | None = None
    from_ledger: bool = False


@dataclass
class Usage:
    """Totals of a client; ``seconds`` is wall time inside ``complete``, tokens are newly paid ones only."""

    requests: int = 0
    from_ledger: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    seconds: float = 0.0


class LlmClient:
    """Client of one model on one endpoint, which is started or looked up when the first open question needs it.

    ``endpoint``: (base URL, name that the server knows the model by), or a function that gives both. ``concurrency`` requests are kept in flight; each is tried ``1 + max_retries`` times with exponential
    backoff (0.5 s to 8 s), and a try may take ``timeout`` seconds.
    """

    def __init__(
        self,
        endpoint: tuple[str, str] | Callable[[], tuple[str, str]],
        model_identity: str,
        ledger: Ledger,
        api_key: str | None = None,
        concurrency: int = 32,
        max_retries: int = 6,
        timeout: float = 1800.0,  # 64 long answers in flight on two cores take that order of time
    ):
        self._endpoint = endpoint
        self.model_identity = model_identity
        self.ledger = ledger
        self.api_key = api_key
        self.concurrency = concurrency
        self.max_retries = max_retries
        self.timeout = timeout
        self.usage = Usage()

    @property
    def endpoint(self) -> tuple[str, str]:
        """Base URL and model name; starts the server where there is none yet."""
        if callable(self._endpoint):
            self._endpoint = self._endpoint()
        return self._endpoint

    @property
    def base_url(self) -> str:
        """The endpoint's address."""
        return self.endpoint[0]

    @property
    def model(self) -> str:
        """The name that the endpoint knows the model by."""
        return self.endpoint[1]

    def complete(
        self, requests: Sequence[LlmRequest], on_reply: Callable[[int, LlmReply], None] | None = None
    ) -> list[LlmReply]:
        """Replies in the order of ``requests``; ``on_reply(index, reply)`` hears each as it arrives.

        Known answers come from the ledger, equal requests are asked once, and new answers are stored. A request
        that fails for itself (too long, refused by the server) becomes a reply with ``error`` and is not stored.
        Raises DeadEndpoint when nothing can be reached, ConfigError when the endpoint refuses key or model name.
        Runs an event loop of its own, so call it from a thread that has none.
        """
        started = time.monotonic()
        places: dict[str, list[int]] = {}
        for index, request in enumerate(requests):
            places.setdefault(request.key(self.model_identity), []).append(index)
        replies: dict[int, LlmReply] = {}

        def deliver(key: str, reply: LlmReply) -> None:
            for nth, index in enumerate(places[key]):
                # A repeated request is answered by its first occurrence, so it counts as known.
                known = reply.from_ledger or (nth > 0 and reply.error is None)
                replies[index] = replace(reply, from_ledger=known)
                self.usage.requests += 1
                self.usage.from_ledger += known
                if on_reply:
                    on_reply(index, replies[index])

        try:
            for key, known in self.ledger.get_many(places).items():
                deliver(key, LlmReply(**known, error=None, from_ledger=True))
            open_keys = [key for key, indexes in places.items() if indexes[0] not in replies]
            if open_keys:
                _ = self.endpoint  # started outside the event loop
                asyncio.run(self._ask_all([(key, requests[places[key][0]]) for key in open_keys], deliver))
        finally:
            self.usage.seconds += time.monotonic() - started
        return [replies[index] for index in range(len(requests))]

    async def _ask_all(self, asked: list[tuple[str, LlmRequest]], deliver: Callable[[str, LlmReply], None]) -> None:
        from openai import AsyncOpenAI, DefaultAsyncHttpxClient

        # A proxy from the environment must not get requests for this machine.
        direct = (urlsplit(self.base_url).hostname or "") in LOOPBACK
        queue: Iterator[tuple[str, LlmRequest]] = iter(asked)
        async with AsyncOpenAI(
            base_url=self.base_url,
            api_key=self.api_key or "none",
            max_retries=self.max_retries,
            timeout=self.timeout,
            http_client=DefaultAsyncHttpxClient(trust_env=not direct),
        ) as api:

            async def worker() -> None:
                for key, request in queue:  # shared by the workers: each takes the next open request
                    reply = await self._ask(api, request)
                    if reply.error is None:
                        stored = asdict(reply)
                        del stored["error"], stored["from_ledger"]
                        self.ledger.put(key, self.model_identity, stored)
                        self.usage.tokens_in += reply.tokens_in
                        self.usage.tokens_out += reply.tokens_out
                    deliver(key, reply)

            workers = [asyncio.create_task(worker()) for _ in range(min(self.concurrency, len(asked)))]
            try:
                await asyncio.gather(*workers)
            finally:
                for task in workers:
                    task.cancel()
                await asyncio.gather(*workers, return_exceptions=True)

    async def _ask(self, api: "AsyncOpenAI", request: LlmRequest) -> LlmReply:
        import openai

        options: dict[str, Any] = {
            "model": self.model,
            "max_tokens": request.max_tokens,
            "temperature": request.temperature,
            "top_p": request.top_p,
        }
        if request.seed is not None:
            options["seed"] = request.seed
        if request.stop:
            options["stop"] = list(request.stop)
        if request.json_schema is not None:
            schema = {"name": "reply", "schema": request.json_schema, "strict": True}
            # In extra_body because plain completions take it too, though the library has no parameter for it.
            options["extra_body"] = {"response_format": {"type": "json_schema", "json_schema": schema}}
        try:
            if request.messages is not None:
                messages: Any = list(request.messages)
                chat = await api.chat.completions.create(messages=messages, **options)
                text, finish, usage = chat.choices[0].message.content, chat.choices[0].finish_reason, chat.usage
                if chat.choices[0].message.refusal:
                    text, finish = "", "content_filter"
            else:
                plain = await api.completions.create(prompt=request.prompt, **options)
                text, finish, usage = plain.choices[0].text, plain.choices[0].finish_reason, plain.usage
        except openai.APITimeoutError:
            return _failed(f"no answer within {self.timeout:g} s")
        except openai.APIConnectionError as error:
            raise DeadEndpoint(
                f"LLM endpoint {self.base_url} cannot be reached: {error.__cause__ or error}",
                "start that server or correct `base_url`; for a local model look at its server.log in "
                "data/llm/servers, then run again: answers so far are kept",
            ) from error
        except (openai.AuthenticationError, openai.PermissionDeniedError, openai.NotFoundError) as error:
            raise ConfigError(
                f"LLM endpoint {self.base_url} refuses model {self.model!r}: {self._without_key(error.message)}",
                "correct `served_name` (the name the server lists under /v1/models), `base_url` or the key in "
                "the variable that `api_key_env` names",
            ) from None  # the cause would carry the server's words into the event log
        except openai.OpenAIError as error:  # 400 (too long, bad schema), 5xx after all tries, no valid body
            return _failed(self._without_key(str(error)))
        return LlmReply(
            text or "", finish, usage.prompt_tokens if usage else 0, usage.completion_tokens if usage else 0
        )

    def _without_key(self, message: str) -> str:
        """What a server says, without the key that some of them repeat."""
        return message.replace(self.api_key, "***") if self.api_key else message


def _failed(error: str) -> LlmReply:
    return LlmReply("", None, 0, 0, error=error)
