"""Sending what ``jobs.webhooks`` noted: at least once, patiently, and no receiver before another.

    waiting ─▶ delivered (2xx) | abandoned (410, a private address, a day of trying)
       ▲ ┊
       └─┘ not_before: later and later, or when the receiver says (Retry-After)

A delivery is claimed with a token and a lease before it is sent and recorded afterwards, so a
process that dies between the two leaves it to be sent again, under the same id. Redirects are not
followed: the receiver that moved is to be told to Hansard, not to whoever holds its old address.
"""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from hansard import telemetry
from hansard.chance import CHANCE
from hansard.config import Settings
from hansard.errors import AddressRefused, BadRequest, HansardError
from hansard.jobs import webhooks
from hansard.jobs.signatures import Secrets, sign
from hansard.model import Value
from hansard.store.database import Database
from hansard.store.tables import deliveries, delivery_tries

if TYPE_CHECKING:
    import httpx

    from hansard.outbound import Resolve

_log = logging.getLogger("hansard.webhooks")

AT_ONCE = 16
"""Deliveries under way at the same time."""

PER_TENANT = 12
PER_HOST = 2
"""Of them, so that a receiver that lets us wait does not hold up the others."""

_LOOKED_AT = 256
_NAP = 1.0
"""Seconds between looks at a store that another process may have changed."""

_BREATH = 0.05
"""Seconds between two looks at the least."""

_MARGIN = 5.0
"""Seconds of a lease beyond what sending may take."""

_READ = 4096
"""Bytes of an answer that are looked at, for politeness: most clients hang up after them."""

_FIRST, _FACTOR, _LONGEST = 5.0, 3.0, 3600.0
"""Seconds until the second try, how much longer each time, and at the most: some 30 in a day."""

_KEPT = 30 * 86_400.0
_SWEEP = 3600.0
"""Seconds that the log of what has ended is kept, and between looks for what is older."""

_IS_WAITING = deliveries.c.state == sa.literal_column("'waiting'")
"""As the partial index has it, or the index is not used."""


class Outcome(Value, frozen=True):
    """How a try ended."""

    status: int | None = None
    error: str | None = None
    final: bool = False
    """Trying again is of no use."""
    retry_after: float | None = None
    """Seconds that the receiver asked us to wait."""

    @property
    def arrived(self) -> bool:
        """Whether the receiver has it."""
        return self.status is not None and 200 <= self.status < 300


class Deliveries:
    """Sends what is due, in threads of this process. Several processes may do so at once."""

    def __init__(
        self,
        database: Database,
        settings: Settings,
        *,
        clock: Callable[[], float] = time.time,
        resolve: Resolve | None = None,
    ) -> None:
        """``resolve`` looks names up; the system's resolver if not given."""
        self._database = database
        self._whole = settings
        self._settings = settings.webhooks
        self._secrets = Secrets(settings.data, settings.webhooks.secret)
        self._clock = clock
        self._resolve = resolve
        self._guard = threading.Condition()
        self._hosts: Counter[str] = Counter()
        self._tenants: Counter[str] = Counter()
        self._swept = 0.0
        self._troubled = False
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    # ── the loop ─────────────────────────────────────────────────────────────────────────────

    def start(self) -> None:
        """Begin to send."""
        self._thread = threading.Thread(target=self._run, name="hansard-webhooks", daemon=True)
        self._thread.start()

    def stop(self, patience: float = 5.0) -> None:
        """Send nothing more, and wait for what is under way; what is cut off is sent again."""
        self._stop.set()
        self._database.ring()
        until = time.monotonic() + patience
        if self._thread is not None:
            self._thread.join(patience)
        self.settle(max(0.0, until - time.monotonic()))

    def _run(self) -> None:
        subscribed = False
        while not self._stop.is_set():
            seen = self._database.rings()
            with self._patient():
                if not subscribed:
                    self.subscribe()
                    subscribed = True
                self._sweep()
                for row, token in self._claim():
                    self._spawn(row, token)
            if not self._stop.is_set():
                self._database.wait(seen, _NAP)
                self._stop.wait(_BREATH)  # every window that is recorded rings

    def subscribe(self) -> None:
        """From now on the address in the settings is told of every job, whichever process ends it.

        Raises:
            HansardError: the store cannot be written.
        """
        with self._database.write() as connection:
            webhooks.tell_of_every_job(connection, self._settings.url)

    def step(self) -> int:
        """Send what is due now, once, and wait for it; how many that were."""
        claimed = self._claim()
        for row, token in claimed:
            self._spawn(row, token)
        self.settle(None)
        return len(claimed)

    def settle(self, seconds: float | None) -> None:
        """Wait for what is under way."""
        with self._guard:
            self._guard.wait_for(lambda: not self._hosts.total(), seconds)

    @contextmanager
    def _patient(self) -> Iterator[None]:
        """A store that is in trouble is asked again later; the thread must not die of it."""
        try:
            yield
            self._troubled = False
        except HansardError as error:
            if not self._troubled:
                _log.warning("webhooks wait: %s %s", error.message, error.hint or "")
            self._troubled = True

    def _spawn(self, row: sa.Row[Any], token: str) -> None:
        threading.Thread(
            target=self._deliver, args=(row, token), name="hansard-webhook", daemon=True
        ).start()

    # ── claiming ─────────────────────────────────────────────────────────────────────────────

    def _claim(self) -> list[tuple[sa.Row[Any], str]]:
        """Take what is due, in turn between tenants and between hosts."""
        now = self._clock()
        due = sa.and_(_IS_WAITING, deliveries.c.not_before <= now)
        with self._database.read() as connection:
            if connection.scalar(sa.select(deliveries.c.id).where(due).limit(1)) is None:
                return []
        claimed = []
        # Not before the end of the next try, and its lease: a claimed row is not due.
        until = now + self._settings.timeout + _MARGIN
        with self._database.write() as connection:
            for row in self._chosen(connection, due):
                token = secrets.token_hex(16)
                connection.execute(
                    deliveries.update()
                    .where(deliveries.c.id == row.id)
                    .values(
                        token=token,
                        lease_until=until,
                        not_before=until,
                        attempt=deliveries.c.attempt + 1,
                    )
                )
                claimed.append((row, token))
        with self._guard:
            for row, _ in claimed:
                self._hosts[row.host] += 1
                self._tenants[row.tenant] += 1
        return claimed

    def _chosen(self, connection: sa.Connection, due: sa.ColumnElement[bool]) -> list[sa.Row[Any]]:
        with self._guard:
            hosts, tenants = Counter(self._hosts), Counter(self._tenants)
        chosen = []
        for row in connection.execute(_in_turn(due)):
            if hosts.total() >= AT_ONCE:
                break
            if hosts[row.host] < PER_HOST and tenants[row.tenant] < PER_TENANT:
                hosts[row.host] += 1
                tenants[row.tenant] += 1
                chosen.append(row)
        # Others may have chosen the same: what they are taking is theirs.
        free = (
            sa.select(deliveries.c.id)
            .where(deliveries.c.id.in_([row.id for row in chosen]), due)
            .with_for_update(skip_locked=True)
        )
        mine = set(connection.scalars(free))
        return [row for row in chosen if row.id in mine]

    # ── sending ──────────────────────────────────────────────────────────────────────────────

    def _deliver(self, row: sa.Row[Any], token: str) -> None:
        at, begun = self._clock(), time.monotonic()
        try:
            with telemetry.tracing(telemetry.parsed(row.trace, row.job)):
                outcome = self._outcome(row)
            with self._patient():
                self._record(row, token, outcome, at, time.monotonic() - begun)
        except Exception as error:
            if not self._stop.is_set():
                raise
            # The store was closed under a receiver that lets us wait: it is sent again.
            _log.warning(
                "delivery %s was cut off and will be sent again (%s)", row.id, type(error).__name__
            )
        finally:
            with self._guard:
                self._hosts[row.host] -= 1
                self._tenants[row.tenant] -= 1
                self._hosts, self._tenants = +self._hosts, +self._tenants
                self._guard.notify_all()
            self._database.ring()

    def _outcome(self, row: sa.Row[Any]) -> Outcome:
        try:
            with telemetry.span("webhook.send"):
                return self._send(row)
        except Exception as error:  # noqa: BLE001 it is logged and stands in the delivery's log
            _log.exception("unexpected error in delivery %s", row.id)
            return Outcome(error=f"Something unexpected happened: {type(error).__name__}.")

    def _send(self, row: sa.Row[Any]) -> Outcome:
        import httpx

        from hansard import outbound

        body = row.body.encode()
        timestamp = int(self._clock())
        headers = {
            "content-type": "application/json",
            "user-agent": "Hansard",
            "webhook-id": row.id,
            "webhook-timestamp": str(timestamp),
            "traceparent": telemetry.traceparent(),
            "webhook-signature": sign(self._secrets.of(row.tenant), row.id, timestamp, body),
        }
        patience = self._settings.timeout
        try:
            outbound.see_that_it_may_be_called(row.url, self._whole)
            with (
                outbound.client(
                    private=self._settings.private,
                    seconds=patience,
                    silence=patience,
                    resolve=self._resolve or outbound.look_up,
                ) as http,
                http.stream("POST", row.url, content=body, headers=headers) as answer,
            ):
                _skim(answer)
                return _judged(answer, self._clock())
        except (AddressRefused, BadRequest) as refusal:
            return Outcome(error=f"{refusal.message} {refusal.hint}", final=True)
        except httpx.TimeoutException:
            return Outcome(error=f"No answer within {patience:g} s.")
        except httpx.HTTPError as error:
            return Outcome(error=f"The receiver cannot be reached: {error}.")

    # ── recording ────────────────────────────────────────────────────────────────────────────

    def _record(
        self, row: sa.Row[Any], token: str, outcome: Outcome, at: float, seconds: float
    ) -> None:
        """Write how a try went, and what comes of it where the delivery is still in our hands."""
        values = self._verdict(row, outcome)
        with self._database.write() as connection:
            its = sa.select(deliveries.c.id).where(deliveries.c.id == row.id).with_for_update()
            if connection.execute(its).first() is None:
                return  # its tenant or its age had it removed
            number = connection.scalar(
                sa.select(sa.func.coalesce(sa.func.max(delivery_tries.c.number), 0) + 1).where(
                    delivery_tries.c.delivery == row.id
                )
            )
            connection.execute(
                delivery_tries.insert().values(
                    delivery=row.id,
                    number=number,
                    at=at,
                    seconds=round(seconds, 3),
                    status=outcome.status,
                    error=outcome.error,
                )
            )
            connection.execute(
                deliveries.update()
                .where(deliveries.c.id == row.id, deliveries.c.token == token)
                .values(token=None, lease_until=None, **values)
            )
        if values.get("state") == "abandoned":
            _log.warning(
                "delivery %s of %s for job %s is given up: %s",
                row.id, row.event, row.job, outcome.error,
            )  # fmt: skip

    def _verdict(self, row: sa.Row[Any], outcome: Outcome) -> dict[str, Any]:
        now = self._clock()
        if outcome.arrived:
            return {"state": "delivered", "finished": now}
        telemetry.failed("webhook.send", "undelivered")
        ends = row.since + self._settings.seconds
        asked = outcome.retry_after or 0.0
        if outcome.final or now >= ends or now + asked > ends:
            return {"state": "abandoned", "finished": now}
        return {"not_before": min(now + max(asked, backoff(row.attempt + 1)), ends)}

    def _sweep(self) -> None:
        """Remove the log of what ended long ago."""
        now = self._clock()
        if now - self._swept < _SWEEP:
            return
        self._swept = now
        old = sa.and_(deliveries.c.finished.is_not(None), deliveries.c.finished < now - _KEPT)
        with self._database.write() as connection:
            connection.execute(deliveries.delete().where(old))


def backoff(tried: int) -> float:
    """Seconds to wait after so many tries: 5, 15, 45 … 3600, a fifth more or less at random."""
    plain = min(_LONGEST, _FIRST * _FACTOR ** min(tried - 1, 20))
    return plain * CHANCE.uniform(0.8, 1.2)


def _in_turn(due: sa.ColumnElement[bool]) -> sa.Select[Any]:
    """The oldest few of each host, and of these the tenants in turn."""
    one = (
        sa.select(
            deliveries,
            sa.func.row_number()
            .over(
                partition_by=(deliveries.c.tenant, deliveries.c.host),
                order_by=deliveries.c.not_before,
            )
            .label("place"),
        )
        .where(due)
        .subquery()
    )
    two = (
        sa.select(
            one,
            sa.func.row_number()
            .over(partition_by=one.c.tenant, order_by=one.c.not_before)
            .label("turn"),
        )
        .where(one.c.place <= PER_HOST)
        .subquery()
    )
    return sa.select(two).order_by(two.c.turn, two.c.not_before).limit(_LOOKED_AT)


def _skim(answer: httpx.Response) -> None:
    """Read a little of the body; its status has said all that counts."""
    import httpx

    read = 0
    with suppress(httpx.HTTPError):
        for piece in answer.iter_raw():
            read += len(piece)
            if read > _READ:
                return


def _judged(answer: httpx.Response, now: float) -> Outcome:
    status = answer.status_code
    if 200 <= status < 300:
        return Outcome(status)
    if status == 410:
        return Outcome(status, "The receiver wants no more of these (410).", final=True)
    if 300 <= status < 400:
        return Outcome(status, f"The receiver redirects ({status}); that is not followed.")
    after = _seconds(answer.headers.get("retry-after", ""), now)
    return Outcome(status, f"The receiver answers {status}.", retry_after=after)


def _seconds(header: str, now: float) -> float | None:
    """Retry-After: seconds, or a date (RFC 9110, section 10.2.3)."""
    if header.isascii() and header.isdigit():
        return float(header)
    try:
        return max(0.0, parsedate_to_datetime(header).timestamp() - now)
    except ValueError:
        return None
