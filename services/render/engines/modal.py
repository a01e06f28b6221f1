"""Attempts in containers on Modal, by calls that outlive this process. The only module that speaks to Modal.

1. A call that may have been made is never taken for one that was not: what is lost is looked for on the board by the
   attempt's claim, and of several calls for an attempt one renders
   (tests/render/test_modal_engine.py::test_a_lost_spawn_renders_once).
2. While Modal cannot be reached nothing is known, and nothing fails: the attempt waits and says so
   (test_away_it_waits_and_says_so), unless a fallback is wanted.
3. Cancelling a run lets go of its call; `end` ends it, whether it runs, waits or was never heard of
   (test_cancelling_ends_every_process, test_what_is_ended_before_it_begins_never_renders).
4. A container that gives no sign of life is a stall: ended, and tried again (test_a_stall_is_ended).

Every call to Modal has a deadline of ours: its client reconnects for a minute by itself.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeVar

import modal
import modal.config
from grpclib.exceptions import StreamTerminatedError
from modal import exception

from chassis import tracing
from chassis.faults import Fault, unavailable
from render.engines import capacity, chunked
from render.engines.capacity import Capacity
from render.engines.chunked import Parts
from render.engines.container import claim_key, part_key, parts_key
from render.engines.following import Away, CallFailed, Following, Forgotten, Patience
from render.engines.order import Answer, Order, Share, Status
from render.engines.port import WAITING, AttemptFailed, Calls, Made, Progress, Put, Shelf, Work
from render.job import ENGINE_AWAY, Failure

log = logging.getLogger(__name__)

T = TypeVar("T")

FUNCTION, CHUNK_FUNCTION = "render_export", "render_chunk"
BOARD = "reel-ballers-render"
ASK_S = 15.0
FOLLOW_S = 2.0  # a look waits so long for the end
PAUSE_MAX_S = 10.0
AWAY_S = 30.0  # for which a new attempt is given to the fallback
GRANT_MAX_S = 7 * 24 * 3600  # the store signs for no longer
GRANT_SPARE_S = 600
STARTS = 3  # of a container, each as long as an attempt may take
BEATS = 6  # signs of life within the stall time

# Modal out of reach, or out of order, or not what it should be: what became of a call is not known. The operator's
# mistakes are among them (a token, an app that is not deployed): they pass when mended, and no job fails for them.
_UNKNOWN = (
    exception.AuthError,
    exception.ConflictError,
    exception.ConnectionError,
    exception.InternalError,
    exception.PermissionDeniedError,
    exception.ResourceExhaustedError,
    exception.ServiceError,
    StreamTerminatedError,
    # Not every OSError: a container that could not be set up tells its own, and that is an answer.
    ConnectionError,
    socket.gaierror,
    ssl.SSLError,
)


@dataclass(frozen=True)
class Terms:
    """How Modal is used; times in seconds."""

    token_id: str
    token_secret: str
    app: str
    environment: str  # Modal's; empty for the token's own
    attempt_timeout_s: float
    stall_timeout_s: float
    queue_s: float  # that a call may wait for a container
    fallback: Literal["wait", "local"]
    fallback_after_s: float
    service_environment: str
    otlp_endpoint: str


class Engine:
    """Modal as an engine."""

    name = "modal"
    remote = True

    def __init__(self, terms: Terms) -> None:
        self._terms = terms
        self._client: modal.Client | None = None
        self._connecting = asyncio.Lock()
        self._patience = Patience(terms.stall_timeout_s, terms.queue_s)
        self._board: modal.Dict | None = None
        self._away_until_s = 0.0
        # Results come as plain values rather than pickles, and so do arguments. Modal reads this from the environment.
        modal.config.config.override_locally("payload_format", "cbor")

    @property
    def away(self) -> bool:
        """Whether it did not answer lately, for an attempt that may as well be made elsewhere."""
        return self._terms.fallback == "local" and time.monotonic() < self._away_until_s

    @property
    def grant_s(self) -> int:
        """The queue, and as many starts as there may be."""
        whole_s = self._terms.queue_s + STARTS * self._terms.attempt_timeout_s + GRANT_SPARE_S
        return min(GRANT_MAX_S, round(whole_s))

    async def run(self, work: Work, calls: Calls, progress: Progress) -> Made:
        """The products, put where the work says; AttemptFailed."""
        try:
            return await self._run(work, calls, progress)
        except AttemptFailed as error:
            # Calls of an engine that was away are ended when it is back.
            if error.failure.code != ENGINE_AWAY:
                await self._end_all(work, calls)
            raise
        except Exception:
            await self._end_all(work, calls)
            raise

    async def _run(self, work: Work, calls: Calls, progress: Progress) -> Made:
        parts = await self._parts(work, calls)
        cost_micros = 0
        order = replace(self._order(work), at_once=int(capacity.EXPORT.cores_max // 2))
        if parts is not None and work.shelf is not None:
            cost_micros = await self._chunks(work, work.shelf, parts, calls, progress)
            order = replace(order, chunks=await work.shelf.urls(parts.names), at_once=parts.at_once)
        try:
            answer = await self._call(FUNCTION, capacity.EXPORT, order, 0, calls, progress)
        except AttemptFailed as error:
            raise AttemptFailed(error.failure, error.cost_micros + cost_micros) from error
        return Made(list(answer.products), cost_micros + _cost_micros(answer, capacity.EXPORT))

    async def _parts(self, work: Work, calls: Calls) -> Parts | None:
        """How the work is spread over several calls; None when it is not, or when the last of them is under way."""
        at_once = capacity.at_once(work.spec)
        if at_once < 2 or work.shelf is None or work.survey is None or 0 in calls.known:
            return None
        return chunked.deal(await work.survey(), at_once)

    async def _chunks(self, work: Work, shelf: Shelf, parts: Parts, calls: Calls, progress: Progress) -> int:
        """Has the chunks rendered; what it cost."""
        await self._surely(lambda: self.put(parts_key(work.key), {"parts": len(parts.dealt)}), progress)
        order = self._order(work)

        async def call(part: int, share: Share, puts: Mapping[str, Put], told: Progress) -> Answer:
            mine = replace(order, key=part_key(work.key, part), puts=puts, share=share)
            return await self._call(CHUNK_FUNCTION, capacity.CHUNK, mine, part, calls, told)

        answers = await chunked.render(parts, shelf, calls.known, call, progress)
        return sum(_cost_micros(answer, capacity.CHUNK) for answer in answers)

    async def _end_all(self, work: Work, calls: Calls) -> None:
        """Ends what an attempt that failed has begun and that still runs: its other chunks."""
        try:
            await self.end(work.key, calls.known)
        except Fault as fault:
            log.warning("calls were not ended: %s", fault.message, extra={"attempt": work.key})

    async def _call(
        self, function: str, paid: Capacity, order: Order, part: int, calls: Calls, progress: Progress
    ) -> Answer:
        """What a call came to that does an order, of those for it the one that did; AttemptFailed."""
        call_id = calls.known.get(part)
        if call_id is None:
            call_id = await self._begin(function, order, progress)
            await calls.keep(part, call_id)
            progress("queued", 0.0)
        while True:
            following = Following(self, self._patience, order.key, call_id, paid, progress)
            answer = await following.answer()
            if answer.status is not Status.DUPLICATE:
                break
            if not answer.call_id:
                raise _ended()
            call_id = answer.call_id
            await calls.keep(part, call_id)
        if answer.failure is not None:
            raise AttemptFailed(answer.failure, _cost_micros(answer, paid))
        return answer

    async def end(self, key: str, calls: Mapping[int, str]) -> None:
        """Ends the attempt's calls. A call that nobody heard of finds the attempt taken, and ends by itself."""
        try:
            ids = set(calls.values())
            noted = await self.read(parts_key(key))
            for part in range(1 + (int(noted["parts"]) if noted else 0)):
                if not await self.claim(part_key(key, part)):
                    claimed = await self.read(claim_key(part_key(key, part)))
                    ids |= {str(claimed["call_id"])} if claimed else set()
            for call_id in sorted(ids - {""}):
                await self._cancel(call_id)
        except Away as error:
            raise unavailable("modal_unreachable", "Modal cannot be reached.") from error

    async def close(self) -> None:
        """Ends the connection."""
        if self._client is not None:
            await self._client.close.aio()

    async def client(self) -> modal.Client:
        """The connection; Away."""
        async with self._connecting:
            if self._client is None:
                terms = self._terms
                self._client = await self.ask(
                    lambda: modal.Client.from_credentials.aio(terms.token_id, terms.token_secret)
                )
            return self._client

    async def look(self, call_id: str) -> Mapping[str, Any] | None:
        """What a call answered, None while it goes on; Away, Forgotten, CallFailed."""
        call: Any = modal.FunctionCall.from_id(call_id, await self.client())
        try:
            return await self.ask(lambda: call.get.aio(timeout=FOLLOW_S), FOLLOW_S)
        except TimeoutError:
            return None
        except (exception.OutputExpiredError, exception.NotFoundError) as error:
            raise Forgotten(str(error)) from error
        except exception.FunctionTimeoutError as error:
            raise CallFailed("timed_out", "The work took too long, and was ended.") from error
        except (exception.RemoteError, exception.InternalFailure) as error:
            log.error("a call on Modal failed: %r", error, extra={"call": call_id})
            raise CallFailed("render_failed", "Something went wrong inside the renderer.") from error

    async def read(self, key: str) -> Mapping[str, Any] | None:
        """What the board says; Away."""
        return await self._on_board(lambda board: board.get.aio(key))

    async def put(self, key: str, value: Mapping[str, Any]) -> None:
        """Writes on the board; Away."""
        await self._on_board(lambda board: board.put.aio(key, dict(value)))

    async def claim(self, attempt: str) -> bool:
        """Takes an attempt for ourselves, so that no container begins it; False when one has. Away."""
        ours = {"call_id": "", "at_s": time.time()}
        return await self._on_board(lambda board: board.put.aio(claim_key(attempt), ours, skip_if_exists=True))

    async def _on_board(self, ask: Callable[[modal.Dict], Awaitable[T]]) -> T:
        if self._board is None:
            environment = self._terms.environment or None
            client = await self.client()
            self._board = modal.Dict.from_name(
                BOARD, environment_name=environment, create_if_missing=True, client=client
            )
        board = self._board
        try:
            return await self.ask(lambda: ask(board))
        except exception.NotFoundError as error:
            self._board = None
            raise Away("the board is gone") from error

    async def ask(self, call: Callable[[], Awaitable[T]], more_s: float = 0.0) -> T:
        """An answer of Modal's; Away when there is none within ASK_S and `more_s`."""
        # In a task of its own: Modal's client may take a cancellation for the end of what it waits for, and lose it.
        asking = asyncio.ensure_future(call())
        try:
            await asyncio.wait([asking], timeout=ASK_S + more_s)
        finally:
            asking.add_done_callback(_heard)
            answered = asking.done()
            asking.cancel()
        try:
            if not answered:
                raise ConnectionError("no answer in time")
            got = asking.result()
        except TimeoutError:
            raise  # Modal's own: the call goes on
        except asyncio.CancelledError as error:
            raise Away("the connection was closed") from error
        except (exception.FunctionTimeoutError, exception.OutputExpiredError):
            raise
        except (*_UNKNOWN, exception.TimeoutError) as error:
            self._away_until_s = time.monotonic() + AWAY_S
            raise Away(f"{type(error).__name__}: {error}") from error
        self._away_until_s = 0.0
        return got

    async def _cancel(self, call_id: str) -> None:
        call = modal.FunctionCall.from_id(call_id, await self.client())
        try:
            await self.ask(lambda: call.cancel.aio(terminate_containers=True))
        except exception.NotFoundError:
            log.info("Modal knows no such call any more", extra={"call": call_id})

    async def _begin(self, function: str, order: Order, progress: Progress) -> str:
        """The id of the call for an order: of one that was made before and not heard of, or of a new one."""

        async def begin() -> str:
            claimed = await self.read(claim_key(order.key))
            if claimed is None:
                return await self._spawn(function, order)
            if not claimed["call_id"]:
                raise _ended()
            return str(claimed["call_id"])

        return await self._surely(begin, progress)

    async def _surely(self, ask: Callable[[], Awaitable[T]], progress: Progress) -> T:
        """An answer, waited for as long as Modal is away; AttemptFailed when a fallback is wanted instead."""
        began = time.monotonic()
        pause_s = 0.25
        while True:
            try:
                return await ask()
            except (Away, exception.NotFoundError) as error:
                log.warning("Modal cannot be reached, an attempt waits: %s", error)
                progress(WAITING, 0.0)
                if self._terms.fallback == "local" and time.monotonic() - began >= self._terms.fallback_after_s:
                    raise AttemptFailed(Failure(ENGINE_AWAY, "Modal cannot be reached.", True)) from error
            await asyncio.sleep(pause_s)
            pause_s = min(PAUSE_MAX_S, pause_s * 2)

    async def _spawn(self, name: str, order: Order) -> str:
        terms = self._terms
        with tracing.span("modal.spawn", kind="producer"):
            function: Any = modal.Function.from_name(
                terms.app, name, environment_name=terms.environment or None, client=await self.client()
            )
            told = replace(order, carrier=tracing.carrier()).told()
            call = await self.ask(lambda: function.spawn.aio(told))
            return str(call.object_id)

    def _order(self, work: Work) -> Order:
        terms = self._terms
        return Order(
            key=work.key,
            spec_bytes=work.spec_bytes,
            urls=tuple(work.urls.values()),
            puts=work.puts,
            limit_s=capacity.limit_s(work.spec, terms.attempt_timeout_s),
            stall_s=terms.stall_timeout_s,
            beat_s=terms.stall_timeout_s / BEATS,
            carrier={},
            environment=terms.service_environment,
            otlp_endpoint=terms.otlp_endpoint,
        )


def _heard(asking: asyncio.Future[Any]) -> None:
    """Takes notice of what became of a question that nobody waits for any more."""
    if not asking.cancelled() and asking.exception() is not None:
        log.debug("a late answer: %r", asking.exception())


def _ended() -> AttemptFailed:
    """An attempt that was taken from us before it began."""
    return AttemptFailed(Failure("render_failed", "The attempt was ended.", True))


def _cost_micros(answer: Answer, paid: Capacity) -> int:
    return capacity.cost_micros(answer.usage, paid) if answer.usage is not None else 0
