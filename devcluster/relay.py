"""Lets other pods reach one port of a pod's loopback, and no other port of what listens there.

A pod runs this file's text by itself, with nothing but Python:

    python3 relay.py LISTEN_PORT LOOPBACK_PORT
"""

import asyncio
import contextlib
import signal
import sys

BLOCK_BYTES = 1 << 18


async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Pass bytes on until the sender ends, and then end it for the receiver too."""
    while data := await reader.read(BLOCK_BYTES):
        writer.write(data)
        await writer.drain()
    writer.write_eof()


async def serve(listen: int, target: int) -> None:
    """Relay connections until SIGTERM.

    Args:
        listen: Port on all addresses.
        target: Port on the loopback.
    """

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer), contextlib.suppress(OSError):
            inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", target)
            with contextlib.closing(inner_writer):
                await asyncio.gather(copy(reader, inner_writer), copy(inner_reader, writer))

    server = await asyncio.start_server(relay, "0.0.0.0", listen, limit=BLOCK_BYTES)  # noqa: S104
    stop = asyncio.Event()
    # The first process of a container dies of no signal that it does not handle.
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await stop.wait()
    server.close()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), int(sys.argv[2])))
