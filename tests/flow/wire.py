"""A TCP proxy that can be held, cut and disturbed: a network that fails when it is told to."""

from __future__ import annotations

import asyncio
import random
import ssl
import threading
from collections.abc import Callable
from contextlib import suppress


class Wire:
    """A proxy to a port of this machine, in a thread of its own.

    Held, it lets nothing through either way and closes nothing, as a partition does; what was on
    its way arrives when it is let go, however late. Cut, every connection is reset.
    """

    def __init__(
        self,
        target: int,
        *,
        chance: random.Random | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """To port ``target``; with ``tls`` those who come must speak it, and the port need not."""
        self.target = target
        self._tls = tls
        self.port = 0
        self.faults = 0
        self.broken = 0.0
        """Share of new connections that are answered 503, or reset in the middle."""
        self._chance = chance or random.Random(0)
        self._loop = asyncio.new_event_loop()
        self._open = asyncio.Event()
        self._open.set()
        self._pipes: set[asyncio.StreamWriter] = set()
        self._refusing = False
        ready = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(ready,), daemon=True)
        self._thread.start()
        ready.wait()

    def _run(self, ready: threading.Event) -> None:
        asyncio.set_event_loop(self._loop)
        listening = self._loop.run_until_complete(
            asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._tls)
        )
        self.port = int(listening.sockets[0].getsockname()[1])
        ready.set()
        self._loop.run_forever()
        listening.close()
        left = asyncio.all_tasks(self._loop)
        for task in left:
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        self._loop.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._refusing:
            writer.transport.abort()
            return
        budget: int | None = None
        if self.broken and self._chance.random() < self.broken:
            self.faults += 1
            if self._chance.random() < 0.5:
                await self._say_503(reader, writer)
                return
            budget = self._chance.randrange(200, 200_000)
        await self._open.wait()
        try:
            there, away = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            writer.transport.abort()
            return
        self._pipes |= {writer, away}
        try:
            await asyncio.gather(self._pump(reader, away, None), self._pump(there, writer, budget))
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            self._pipes -= {writer, away}
            writer.transport.abort()
            away.transport.abort()

    @staticmethod
    async def _say_503(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(
                b"HTTP/1.1 503 Slow Down\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
            )
            await writer.drain()
        writer.close()

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, budget: int | None
    ) -> None:
        while piece := await reader.read(65_536):
            await self._open.wait()
            if budget is not None:
                budget -= len(piece)
                if budget < 0:
                    raise ConnectionResetError
            writer.write(piece)
            await writer.drain()
        with suppress(OSError):
            if writer.can_write_eof():
                writer.write_eof()
            else:  # TLS has no half-closed connections
                writer.close()

    def _soon(self, what: Callable[[], None]) -> None:
        done = threading.Event()

        def act() -> None:
            what()
            done.set()

        self._loop.call_soon_threadsafe(act)
        done.wait()

    def hold(self) -> None:
        """Let nothing through."""
        self._soon(self._open.clear)

    def let_go(self) -> None:
        """Let all through, also what came meanwhile."""
        self._soon(self._open.set)

    def cut(self) -> None:
        """Reset every connection; new ones may come."""
        self._soon(self._abort)

    def refuse(self, *, on: bool = True) -> None:
        """Take no connection any more, and reset those there are; or take them again."""
        self._refusing = on
        if on:
            self.cut()

    def _abort(self) -> None:
        for pipe in self._pipes:
            pipe.transport.abort()

    def close(self) -> None:
        """Cut everything, and end the thread."""
        self.refuse()
        self.let_go()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
