"""Delivery by Celery: how permits (``jobs.permits``) travel over RabbitMQ or Redis.

    celery -A hansard.jobs.delivery status | inspect active | control … | beat

``app`` is configured from the settings (``HANSARD_*``) and imports nothing heavy. Workers are
started with `hansard worker`, which runs a Celery worker inside, in threads: prefork would load
every model once in each child, and a model is what a process is kept for. Celery cannot interrupt a
thread, and need not: limits are kept on units (``jobs.limits``), whose leases are no longer renewed
at the soft limit and whose process ends at the hard one. Then the broker has the permit back, the
lease runs out, and another worker takes over.

What is set here, and why:

- Permits are acknowledged late and rejected where their worker is lost, so none is lost with it. No
  results are kept: the job table has them. JSON only: a broker must not be able to run code.
- Queues of RabbitMQ are quorum queues, one for each pool, behind a topic exchange. They hold 100
  permits (the oldest goes first) for a minute: a flooded queue drains itself, an emptied one is
  filled by the next round. Publishers wait for the broker's word.
- A permit is held for half a minute at the most. RabbitMQ ends consumers that hold a message for
  half an hour, and Redis gives a message to another worker after two minutes here.
- No priorities, no ETA, no limits of rate: each means something else to each broker. The job table
  decides about urgency and time, ``store.buckets`` about rates.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
import warnings
from collections.abc import Callable, Collection
from contextlib import suppress
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, TypeVar

from hansard.config import Settings, load
from hansard.errors import BrokerGone, HansardError, MissingPart, UsageError
from hansard.jobs.address import Address, parsed
from hansard.jobs.permits import MOST
from hansard.model import POOL_NAMES, Pool

if TYPE_CHECKING:
    from celery import Celery

T = TypeVar("T")

_log = logging.getLogger("hansard.delivery")

PERMIT, ROUND = "hansard.permit", "hansard.round"
"""Names of tasks."""

_LIFE = 60.0
"""Seconds after which a permit that nobody received is worth nothing."""

_VISIBLE = 120.0
"""Seconds after which Redis gives a permit to another, should its holder not have answered."""

_AGAIN = 1.0
"""Seconds after which a receiver that broke is started again."""

_CONNECT = 3.0
"""Seconds to reach the broker."""


def queue_name(settings: Settings, pool: Pool) -> str:
    """The queue of a pool's permits."""
    return f"{settings.delivery.prefix}.{pool}"


def _rounds_name(settings: Settings) -> str:
    return f"{settings.delivery.prefix}.rounds"


def _refuse(*_: object) -> None:
    raise UsageError("Workers are started with `hansard worker`.")


def see_that_it_fits(settings: Settings) -> Address:
    """Where the broker is that is named.

    Raises:
        MissingPart: Celery is not installed.
        BadSettings: no broker is named, or one that is not to be had: see ``jobs.address``.
    """
    found = parsed(settings.broker)
    for name in ["celery"] if found.is_rabbit else ["celery", "redis"]:
        if find_spec(name) is None:
            raise MissingPart(
                f"A broker needs the package {name}, which is not installed.",
                hint="pip install 'hansard[scale]'",
            )
    return found


def made(
    settings: Settings,
    *,
    work: Callable[[Pool], None] = _refuse,
    look: Callable[[], None] = _refuse,
) -> Celery:
    """The Celery application.

    Args:
        settings: which broker, and what to call things on it.
        work: does what a permit for a pool allows.
        look: makes a round.

    Raises:
        MissingPart: Celery is not installed.
        BadSettings: no broker is named, or one that is not to be had: see ``jobs.address``.
    """
    broker = see_that_it_fits(settings)
    from celery import Celery

    app = Celery("hansard", set_as_current=False, amqp=_ways())
    app.conf.update(_configuration(settings, broker))

    @app.task(name=PERMIT, shared=False)  # type: ignore[untyped-decorator] # celery has no types
    def permit(pool: Pool) -> None:
        if pool in POOL_NAMES:  # whatever a stranger may have put into the queue
            work(pool)

    @app.task(name=ROUND, shared=False)  # type: ignore[untyped-decorator] # celery has no types
    def round_() -> None:
        look()

    return app


def _ways() -> type[Any]:
    """Celery's connections, without a leak: whoever replaces a broken one closes it first.

    kombu drops a connection that it finds broken when it makes another in its place, and the socket
    stays open until the garbage is collected. Celery's event loop comes that way when it ends.

    With TLS each is told the name of the host that its certificate must have; kombu would keep the
    first one's where there are several.
    """
    import celery.app.amqp
    import kombu.connection

    module: Any = kombu.connection  # kombu has types for half of it

    class Connection(module.Connection):  # type: ignore[misc] # celery has no types
        _connection: Any = None
        ssl: Any
        hostname: str

        def _connection_factory(self) -> Any:
            broken, self._connection = self._connection, None
            if broken is not None and hasattr(broken, "collect"):  # Redis has nothing of its own
                broken.collect()
            return super()._connection_factory()

        def _init_params(self, **params: Any) -> None:
            """Whenever it comes to another host: not later, since localhost becomes 127.0.0.1."""
            super()._init_params(**params)
            if isinstance(self.ssl, dict) and "server_hostname" in self.ssl:
                self.ssl = self.ssl | {"server_hostname": self.hostname}

    return type("Ways", (celery.app.amqp.AMQP,), {"Connection": Connection})


def _configuration(settings: Settings, broker: Address) -> dict[str, Any]:
    prefix, every = settings.delivery.prefix, settings.delivery.round_seconds
    options: dict[str, Any] = {"confirm_publish": True, "client_properties": {}}
    if not broker.is_rabbit:
        options = {
            "visibility_timeout": _VISIBLE,
            "global_keyprefix": f"{prefix}.",
            "socket_connect_timeout": _CONNECT,
            "socket_keepalive": True,
            "health_check_interval": 10,
        }
    return {
        "broker_url": broker.url,
        "broker_use_ssl": broker.tls() or False,
        "broker_transport_options": options,
        "broker_connection_timeout": _CONNECT,
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,  # for ever
        "broker_heartbeat": 20,
        "task_queues": _queues(settings, rabbit=broker.is_rabbit),
        "task_create_missing_queues": False,
        "task_default_queue": _rounds_name(settings),
        "control_exchange": f"{prefix}.control",
        "event_exchange": f"{prefix}.events",
        "event_queue_prefix": f"{prefix}.events",
        "task_serializer": "json",
        "accept_content": ["json"],
        "task_ignore_result": True,
        "result_backend": None,
        "task_acks_late": True,
        "task_reject_on_worker_lost": True,
        "task_track_started": True,
        "worker_prefetch_multiplier": 1,
        "worker_pool": "threads",
        "worker_hijack_root_logger": False,
        "worker_cancel_long_running_tasks_on_connection_loss": False,
        "worker_enable_remote_control": True,
        "beat_scheduler": "celery.beat:Scheduler",  # keeps no file
        "beat_schedule": {
            ROUND: {
                "task": ROUND,
                "schedule": every,
                "options": {"queue": _rounds_name(settings), "expires": every},
            }
        },
    }


def _queues(settings: Settings, *, rabbit: bool) -> list[Any]:
    import kombu.entity

    entity: Any = kombu.entity  # kombu has types for half of it
    exchange = entity.Exchange(settings.delivery.prefix, type="topic", durable=True)
    names = [*(queue_name(settings, pool) for pool in POOL_NAMES), _rounds_name(settings)]
    arguments: dict[str, Any] | None = None
    if rabbit:
        arguments = {
            "x-queue-type": "quorum" if settings.delivery.quorum else "classic",
            "x-max-length": MOST,
            "x-overflow": "drop-head",
            "x-message-ttl": int(_LIFE * 1000),
        }
        if settings.delivery.quorum:
            arguments["x-delivery-limit"] = 20
    return [
        entity.Queue(name, exchange, routing_key=name, queue_arguments=arguments) for name in names
    ]


# ── publishing ───────────────────────────────────────────────────────────────────────────────


class Post:
    """The way to the broker: a :class:`permits.Broker`. For one thread.

    A connection that broke while nobody looked is made anew, once.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._app = made(settings)
        self._rabbit = parsed(settings.broker).is_rabbit
        self._connection: Any = None
        self._producer: Any = None
        self._declared: set[str] = set()
        from kombu.exceptions import KombuError

        can = self._app.connection_for_write()
        self._troubles: tuple[type[BaseException], ...] = (
            KombuError,
            OSError,
            *can.connection_errors,
            *can.channel_errors,
        )

    def permit(self, pool: Pool) -> None:
        """See :meth:`permits.Broker.permit`."""
        if not self._rabbit and self.waiting(pool) >= MOST:
            return  # Redis has no limit of its own
        name = queue_name(self._settings, pool)
        self._reach(
            lambda: self._app.send_task(
                PERMIT,
                (pool,),
                queue=name,
                expires=_LIFE,
                producer=self._producer,
                retry=False,
            )
        )

    def waiting(self, pool: Pool) -> int:
        """See :meth:`permits.Broker.waiting`."""
        queue = self._app.amqp.queues[queue_name(self._settings, pool)]

        def count() -> int:
            bound = queue(self._producer.channel)
            if queue.name not in self._declared:
                bound.declare()
                self._declared.add(queue.name)
            return int(bound.queue_declare().message_count)

        return self._reach(count)

    def close(self) -> None:
        """See :meth:`permits.Broker.close`."""
        connection, self._connection = self._connection, None
        self._declared.clear()
        if connection is not None:
            try:
                connection.close()
            except Exception:  # noqa: BLE001 it may be broken already
                with suppress(Exception):
                    connection.collect()  # without a word to the broker

    def _reach(self, act: Callable[[], T]) -> T:
        fresh = self._connection is None
        try:
            if fresh:
                self._connect()
            return act()
        except self._troubles as error:
            self.close()
            if fresh:
                raise _gone(error) from error
        return self._reach(act)

    def _connect(self) -> None:
        self._connection = self._app.connection_for_write()
        self._connection.ensure_connection(max_retries=1, interval_start=0, timeout=_CONNECT)
        self._producer = self._app.amqp.Producer(self._connection)


def _gone(error: BaseException) -> BrokerGone:
    said = str(error).strip().partition("\n")[0] or type(error).__name__
    kept = "Jobs are kept; workers find them in the store, if a little later."
    if "CERTIFICATE_VERIFY_FAILED" in said:
        kept = f"{kept} An authority of your own is named by ?ssl_ca_certs=FILE in the address."
    return BrokerGone(f"The broker cannot be reached: {said}.", hint=kept)


# ── receiving ────────────────────────────────────────────────────────────────────────────────


class Reception:
    """A Celery worker in a thread of this process. One a process: Celery's state is global."""

    def __init__(
        self,
        settings: Settings,
        name: str,
        *,
        pools: Collection[Pool],
        at_once: int,
        work: Callable[[Pool], None],
        look: Callable[[], None],
        ended: Callable[[], None] = lambda: None,
    ) -> None:
        """Get ready; :meth:`start` begins.

        Args:
            settings: which broker.
            name: this worker's, unlike all others.
            pools: whose permits are received.
            at_once: permits held at a time.
            work: does what a permit for a pool allows.
            look: makes a round, where somebody runs `celery beat` as well.
            ended: called where the worker was told to end by remote control.
        """
        self._settings = settings
        self._hostname = f"{name}@{socket.gethostname()}"
        self._app = made(settings, work=work, look=look)
        self._queues = [*(queue_name(settings, pool) for pool in pools), _rounds_name(settings)]
        self._at_once = at_once
        self._ended = ended
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to receive; a broker that is down is tried again for as long as it takes."""
        from celery.worker import state

        state.should_stop = state.should_terminate = None
        self._thread = threading.Thread(target=self._receive, name="hansard-celery", daemon=True)
        self._thread.start()

    def stop_receiving(self) -> None:
        """Receive no more; permits in hand go on. Returns at once."""
        from celery.worker import state

        self._stopping.set()
        state.should_stop = os.EX_OK

    def stop(self, patience: float = 5.0) -> bool:
        """Receive no more and wait; whether it has ended."""
        self.stop_receiving()
        if self._thread is not None:
            self._thread.join(patience)
            return not self._thread.is_alive()
        return True

    def _receive(self) -> None:
        self._app.set_default()  # tasks are looked up there
        _hush()
        while not self._stopping.is_set():
            if self._run() == os.EX_OK:
                if not self._stopping.is_set():
                    _log.warning("told to end by remote control")
                    self._ended()
                return
            # Celery takes some breaks of a connection for errors that nothing can help.
            self._stopping.wait(_AGAIN)

    def _run(self) -> int | None:
        from celery.worker import WorkController

        worker = WorkController(
            app=self._app,
            hostname=self._hostname,
            pool_cls="threads",
            concurrency=self._at_once,
            queues=self._queues,
            consumer_cls=_consumer(),
            without_mingle=True,
            without_gossip=True,
            loglevel="WARNING",
        )
        with suppress(SystemExit):
            worker.start()
        code: int | None = worker.exitcode
        return code


def _hush() -> None:
    """Celery tells of each message it receives; what matters is said here."""
    # What a broken connection leaves running is not the work, and is not to be cancelled.
    warnings.filterwarnings("ignore", r"\s*In Celery 5\.1 we introduced an optional breaking")
    for name in ("celery", "kombu", "amqp"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for name in ("celery.worker.consumer.consumer", "celery.worker.consumer.connection"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    # A permit that cannot be acknowledged comes again, which is harmless.
    logging.getLogger("celery.worker.request").setLevel(logging.CRITICAL + 1)


def _consumer() -> Any:
    """Celery's consumer, without queues for delayed messages, which would be 28 of them."""
    from celery import bootsteps
    from celery.worker.consumer import Consumer, Tasks

    class Heard(bootsteps.StartStopStep):  # type: ignore[misc] # celery has no types
        """Says once that the broker has gone, and once that it is back."""

        requires = (Tasks,)

        def start(self, parent: Any) -> None:
            if parent.restart_count > 1:
                _log.warning("the broker is back: permits are received")

    class Patient(Consumer):  # type: ignore[misc] # celery has no types
        """A consumer that says in Hansard's words what is wrong, once."""

        class Blueprint(Consumer.Blueprint):  # type: ignore[misc] # celery has no types
            default_steps = (
                *(one for one in Consumer.Blueprint.default_steps if "delayed" not in one),
                Heard,
            )

        def on_connection_error_before_connected(self, exc: BaseException) -> None:
            _log.error("%s %s", (gone := _gone(exc)).message, gone.hint)

        def on_connection_error_after_connected(self, exc: BaseException) -> None:
            self.on_connection_error_before_connected(exc)
            super().on_connection_error_after_connected(exc)

    return Patient


def __getattr__(name: str) -> Any:
    """``app``, made from the settings when Celery's command line asks for it."""
    if name not in ("app", "celery"):
        raise AttributeError(name)
    try:
        app = made(load())
    except HansardError as error:
        raise SystemExit(f"{error.message} {error.hint or ''}".strip()) from error
    from celery import signals

    signals.worker_init.connect(_no_worker, weak=False)
    return app


def _no_worker(**_: object) -> None:
    """It would have no models, no store, and receive permits for nothing."""
    raise SystemExit("Workers are started with `hansard worker`.")
