"""Many requests to an OpenAI-compatible endpoint: kept in flight, retried, and remembered in a ledger."""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

from webinstruct_assets.core.errors import ConfigError, DeadEndpoint
from webinstruct_assets.core.foreign_json import whole
from webinstruct_assets.core.ids import digest_json
from webinstruct_assets.core.llm.ledger import Ledger

if TYPE_CHECKING:
    from anyio.from_thread import BlockingPortal
    from openai import AsyncOpenAI

Served = tuple[str | Sequence[str], str]  # base URL, or several; the name that the server knows the model by


@dataclass(frozen=True)
class LlmRequest:
    """One question: chat ``messages`` or a bare ``prompt``, never both; ``max_tokens`` bounds the answer.

    ``json_schema`` makes the endpoint decode under that schema. ``top_logprobs`` asks for the log probabilities of so
    many candidates for the first token (of a chat's answer). ``tag`` is the caller's own note (a record id).
    """

    messages: tuple[dict[str, Any], ...] | None = None
    prompt: str | None = None
    max_tokens: int = 256
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int | None = 0
    stop: tuple[str, ...] = ()
    json_schema: dict[str, Any] | None = None
    top_logprobs: int = 0
    tag: str = ""

    def __post_init__(self) -> None:
        if (self.messages is None) == (self.prompt is None):
            raise ValueError("an LlmRequest has either messages or a prompt")

    def key(self, model_identity: str) -> str:
        """Digest (sha256 hex) of the model and everything in the request that bears on the answer."""
        content = {name: value for name, value in asdict(self).items() if name != "tag"}
        if not self.top_logprobs:
            del content["top_logprobs"]  # keys of requests without them are older than the field
        return digest_json({"model": model_identity, **content})


@dataclass(frozen=True)
class LlmReply:
    """An answer, or ``error`` with an empty text. Tokens are those the endpoint counted when it was asked.

    ``logprobs``: candidates for the first token, where they were asked for and the endpoint gives them.
    """

    text: str
    finish_reason: str | None
    tokens_in: int
    tokens_out: int
    error: str | None = None
    from_ledger: bool = False
    logprobs: dict[str, float] | None = None


@dataclass
class Usage:
    """Totals of a client; tokens are newly paid ones only."""

    requests: int = 0
    from_ledger: int = 0
    tokens_in: int = 0
    tokens_out: int = 0


class LlmClient:
    """Client of one model on one endpoint, which is started or looked up when the first open question needs it.

    ``endpoint``: (base URL, name that the server knows the model by), or a function that gives both. ``concurrency``
    requests are kept in flight; each is tried ``1 + max_retries`` times with exponential backoff (0.5 s to 8 s), and a
    try may take ``timeout`` seconds.
    """

    def __init__(
        self,
        endpoint: Served | Callable[[], Served],
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
    def endpoint(self) -> Served:
        """Base URLs and model name; starts the server where there is none yet."""
        if callable(self._endpoint):
            self._endpoint = self._endpoint()
        return self._endpoint

    @property
    def base_url(self) -> str:
        """The endpoint's address; the first of several."""
        return self.base_urls[0]

    @property
    def base_urls(self) -> list[str]:
        """Addresses of the servers that requests are shared out to (``core.llm.balance``)."""
        urls = self.endpoint[0]
        return [urls] if isinstance(urls, str) else list(urls)

    @property
    def model(self) -> str:
        """The name that the endpoint knows the model by."""
        return self.endpoint[1]

    def complete(
        self, requests: Sequence[LlmRequest], on_reply: Callable[[int, LlmReply], None] | None = None
    ) -> list[LlmReply]:
        """Replies in the order of ``requests``; ``on_reply(index, reply)`` hears each as it arrives.

        See ``InFlight`` for what is asked, stored and raised.
        """
        replies: dict[int, LlmReply] = {}
        with self.in_flight() as flight:
            flight.send(enumerate(requests))
            while flight.open:
                index, reply = flight.receive()
                replies[index] = reply
                if on_reply:
                    on_reply(index, reply)
        return [replies[index] for index in range(len(requests))]

    @contextmanager
    def in_flight(self) -> "Iterator[InFlight]":
        """Sends requests while it is open; what is not answered by its end is given up."""
        with ExitStack() as stack:
            yield InFlight(self, stack)

    async def ask(self, api: "AsyncOpenAI", request: LlmRequest) -> LlmReply:
        """Asks the endpoint; errors as ``InFlight`` has them."""
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
        first: dict[str, float] | None = None
        try:
            if request.messages is not None:
                messages: Any = list(request.messages)
                if request.top_logprobs:
                    options |= {"logprobs": True, "top_logprobs": request.top_logprobs}
                chat = await api.chat.completions.create(messages=messages, **options)
                text, finish, usage = chat.choices[0].message.content, chat.choices[0].finish_reason, chat.usage
                if chat.choices[0].message.refusal:
                    text, finish = "", "content_filter"
                if request.top_logprobs and (given := chat.choices[0].logprobs) and given.content:
                    first = {candidate.token: candidate.logprob for candidate in given.content[0].top_logprobs}
            else:
                plain = await api.completions.create(prompt=request.prompt, **options)
                text, finish, usage = plain.choices[0].text, plain.choices[0].finish_reason, plain.usage
            text = whole(text or "")
        except openai.APITimeoutError:
            return _failed(f"no answer within {self.timeout:g} s")
        except openai.APIConnectionError as error:
            raise DeadEndpoint(
                f"LLM endpoint {', '.join(self.base_urls)} cannot be reached: {error.__cause__ or error}",
                "start that server or correct `base_url`; for a local model look at its server.log in "
                "data/llm/servers, then run again: answers so far are kept",
            ) from error
        except (openai.AuthenticationError, openai.PermissionDeniedError, openai.NotFoundError) as error:
            raise ConfigError(
                f"LLM endpoint {self.base_url} refuses model {self.model!r}: {self._without_key(error.message)}",
                "correct `served_name` (the name the server lists under /v1/models), `base_url` or the key in "
                "the variable that `api_key_env` names",
            ) from None  # the cause would carry the server's words into the event log
        except openai.OpenAIError as error:  # 400 (too long, bad schema), 5xx after all tries
            if isinstance(error, openai.APIStatusError) and error.response.has_redirect_location:
                raise ConfigError(
                    f"LLM endpoint {self.base_url} redirects to {error.response.headers['location'][:200]}",
                    "prompts are sent nowhere but to `base_url`: set it to where the server is",
                ) from None
            return _failed(self._without_key(str(error)))
        except (AttributeError, TypeError, IndexError, ValueError) as error:  # the library believes what it is sent
            return _failed(f"the endpoint's answer is no completion ({type(error).__name__})")
        return LlmReply(
            text,
            finish,
            usage.prompt_tokens if usage else 0,
            usage.completion_tokens if usage else 0,
            logprobs=first,
        )

    def _without_key(self, message: str) -> str:
        """What a server says, without the key that some of them repeat."""
        return message.replace(self.api_key, "***") if self.api_key else message


class InFlight:
    """Requests on their way, asked by a thread of their own: they go on while the caller is at work on replies.

    Known answers come from the ledger, a request equal to one in flight is not asked again, and new answers are stored. A
    request that fails for itself (too long, refused by the server) gets a reply with ``error``, which is not stored.
    ``receive`` raises DeadEndpoint when nothing can be reached, ConfigError when the endpoint refuses key or model name.
    """

    def __init__(self, client: LlmClient, stack: ExitStack):
        self._client, self._stack = client, stack
        self._ready: deque[tuple[Any, LlmReply]] = deque()
        self._answers: SimpleQueue[tuple[str, LlmReply] | BaseException] = SimpleQueue()
        self._places: dict[str, list[Any]] = {}  # of each request in flight, by its key
        self._futures: set[Future[None]] = set()
        self._portal: BlockingPortal | None = None
        self.open = 0  # sent and not received yet

    def send(self, asked: Iterable[tuple[Any, LlmRequest]]) -> None:
        """Queues requests, each with whatever ``receive`` should return beside its reply."""
        keyed = [(request.key(self._client.model_identity), place, request) for place, request in asked]
        known = self._client.ledger.get_many({key for key, _, _ in keyed})
        for key, place, request in keyed:
            self.open += 1
            if key in known:
                self._ready.append((place, LlmReply(**known[key], from_ledger=True)))
            elif key in self._places:
                self._places[key].append(place)
            else:
                self._places[key] = [place]
                self._start(key, request)

    def receive(self) -> tuple[Any, LlmReply]:
        """The next reply; waits for it."""
        if not self._ready:
            answer = self._answers.get()
            if isinstance(answer, BaseException):
                raise answer
            key, reply = answer
            first, *others = self._places.pop(key)
            self._client.usage.tokens_in += reply.tokens_in
            self._client.usage.tokens_out += reply.tokens_out
            self._ready.append((first, reply))
            # A repeated request is answered by its first occurrence, so it counts as known.
            self._ready.extend((place, replace(reply, from_ledger=reply.error is None)) for place in others)
        self.open -= 1
        place, reply = self._ready.popleft()
        self._client.usage.requests += 1
        self._client.usage.from_ledger += reply.from_ledger
        return place, reply

    def _start(self, key: str, request: LlmRequest) -> None:
        if self._portal is None:
            self._portal = self._open()
        future = self._portal.start_task_soon(self._ask, key, request)
        self._futures.add(future)
        future.add_done_callback(self._futures.discard)

    def _open(self) -> "BlockingPortal":
        from anyio.from_thread import start_blocking_portal
        from openai import AsyncOpenAI

        from webinstruct_assets.core.llm.balance import http_client

        client = self._client
        urls = client.base_urls  # the endpoint is started here, by the caller
        portal = self._stack.enter_context(start_blocking_portal())

        def connect() -> AsyncOpenAI:
            return AsyncOpenAI(
                base_url=urls[0],
                api_key=client.api_key or "none",
                max_retries=client.max_retries,
                timeout=client.timeout,
                http_client=http_client(urls, client.api_key),
            )

        self._api = self._stack.enter_context(portal.wrap_async_context_manager(portal.call(connect)))
        self._free = asyncio.Semaphore(client.concurrency)
        self._stack.callback(self._give_up)
        return portal

    def _give_up(self) -> None:
        for future in list(self._futures):
            future.cancel()

    async def _ask(self, key: str, request: LlmRequest) -> None:
        try:
            async with self._free:
                reply = await self._client.ask(self._api, request)
            if reply.error is None:
                stored = asdict(reply)
                del stored["error"], stored["from_ledger"]
                self._client.ledger.put(key, self._client.model_identity, stored)
        except Exception as error:
            self._answers.put(error)
        else:
            self._answers.put((key, reply))


def _failed(error: str) -> LlmReply:
    return LlmReply("", None, 0, 0, error=error)
