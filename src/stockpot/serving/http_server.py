"""Runs an ASGI application on a port, and shuts it down without resetting any connection.

    running ──▶ no new connection begins ──▶ those that began are accepted ──▶ the socket closes
            ──▶ requests on open connections are answered for a moment ──▶ idle ones close
            ──▶ answers are finished ──▶ the thread ends

Closing a listening socket resets the connections that the kernel has completed and the program has
not accepted; closing an idle connection resets a request that is on its way to it. A client cannot
tell either from a crash, and must not send its request again by itself.
"""

import asyncio
import ctypes
import select
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import uvicorn
from fastapi import FastAPI

from stockpot.errors import ExitCode, Refused, StockpotError

LAST_ANSWERS_S = 5
"""How long sending the last answers may take, once they are drawn or cut off."""
KEEP_ALIVE_S = 75
"""How long an idle connection stays open: longer than clients keep it, so that they close it."""
HANDSHAKES_S = 0.1
"""How long TCP handshakes in progress may take before the socket closes."""
LINGER_S = 1.0
"""How long the server then waits for requests on connections that are already open."""
PROBE_IDLE_S, PROBE_EVERY_S, PROBES = 30, 10, 3
"""TCP keep-alive: seconds of silence before the first probe, between probes, and their number."""
_POLL_S = 0.02
_SO_ATTACH_FILTER = 26


class HttpServer(uvicorn.Server):
    """A uvicorn server on a thread and an event loop of its own."""

    def __init__(
        self, app: FastAPI, listener: socket.socket, *, finish_s: float, linger_s: float
    ) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                access_log=False,
                lifespan="off",
                log_config=None,
                server_header=False,
                timeout_keep_alive=KEEP_ALIVE_S,
                timeout_graceful_shutdown=round(finish_s + LAST_ANSWERS_S),
            )
        )
        self._linger_s = linger_s
        self.answers = threading.Event()
        self.thread = threading.Thread(target=self.run, args=([listener],), daemon=True)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.answers.set()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        listener = sockets or []
        for each in listener:
            refuse_new_connections(each)
        await asyncio.sleep(HANDSHAKES_S)
        until_s = time.monotonic() + LINGER_S
        while any(select.select(listener, [], [], 0)) and time.monotonic() < until_s:
            await asyncio.sleep(0)  # The loop accepts what waits.
        for server in self.servers:
            server.close()
        await self._linger()
        await super().shutdown(sockets)

    async def _linger(self) -> None:
        """Answer what clients sent on open connections before they could know of the shutdown."""
        until_s = time.monotonic() + self._linger_s
        await asyncio.sleep(_POLL_S)
        while self.server_state.connections and time.monotonic() < until_s:
            await asyncio.sleep(_POLL_S)

    def require_alive(self) -> None:
        """Check that the server's thread still runs.

        Raises:
            StockpotError: It ended by itself.
        """
        if not self.thread.is_alive():
            raise StockpotError(
                "The HTTP server of a port ended unexpectedly.", help="the log says why"
            )


@contextmanager
def run_server(
    app: FastAPI, listener: socket.socket, *, finish_s: float = 0, linger_s: float = 0
) -> Iterator[HttpServer]:
    """Serve an application on a socket until the block ends.

    Args:
        app: The ASGI application.
        listener: A socket from `listen`.
        finish_s: How long requests may take to be answered after the block.
        linger_s: How long idle connections stay open after the block.
    """
    server = HttpServer(app, listener, finish_s=finish_s, linger_s=linger_s)
    server.thread.start()
    try:
        while not server.answers.wait(0.1):
            server.require_alive()
        yield server
    finally:
        server.should_exit = True
        server.thread.join()


@contextmanager
def listen(host: str, port: int) -> Iterator[socket.socket]:
    """Bind a port. Called before anything slow, so that a conflict shows at once.

    Raises:
        Refused: The port is taken, or the host is no address of this machine (exit 6).
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as listener:
        # Otherwise connections of a server that just ended would block the port.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        _enable_keepalive(listener)
        try:
            listener.bind((host, port))
            listener.listen()
        except OSError as error:
            raise Refused(
                f"Port {port} of {host} cannot be used: {error.strerror}.",
                help=f"end what uses it (ss -ltnp 'sport = :{port}'), or choose another port",
                exit_code=ExitCode.PORT_TAKEN,
            ) from error
        yield listener


def _enable_keepalive(listener: socket.socket) -> None:
    """Enable TCP keep-alive, so that the kernel closes connections of vanished clients.

    Accepted connections inherit the options.
    """
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in (
        (socket.TCP_KEEPIDLE, PROBE_IDLE_S),
        (socket.TCP_KEEPINTVL, PROBE_EVERY_S),
        (socket.TCP_KEEPCNT, PROBES),
    ):
        listener.setsockopt(socket.IPPROTO_TCP, option, value)


def refuse_new_connections(listener: socket.socket) -> None:
    """Make the kernel drop packets that begin a connection, but none that complete one.

    A client repeats such a packet after a second and is then refused, because the socket is closed.
    On a kernel without socket filters, connections of the last moment may be reset.
    """
    # Classic BPF, where a TCP segment begins with its header: 13 is the byte of its flags.
    program = b"".join(
        struct.pack("=HBBI", *instruction)
        for instruction in (
            (0x30, 0, 0, 13),  # load byte 13
            (0x54, 0, 0, 0x12),  # keep SYN and ACK
            (0x15, 0, 1, 0x02),  # SYN alone: the next line; otherwise skip it
            (0x06, 0, 0, 0),  # drop
            (0x06, 0, 0, 0xFFFFFFFF),  # keep
        )
    )
    code = ctypes.create_string_buffer(program)
    filters = struct.pack("HP", len(program) // 8, ctypes.addressof(code))
    with suppress(OSError):
        listener.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, filters)
