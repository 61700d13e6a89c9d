"""The forwarder's own process: `python -m devcluster.forwarder FD TARGET NETWORK KEYS`.

A socket belongs to the network in which it was made: the listening one, inherited, to the
machine's; those that are made after the step, to the cluster's.
"""

import asyncio
import ctypes
import os
import socket
import sys
from contextlib import suppress
from pathlib import Path

from devcluster import keys
from devcluster.api import Api
from devcluster.cgroup_namespaces import ADDRESS

CLONE_NEWNET = 0x40000000
CHUNK_BYTES = 1 << 16
KNOWN_ADDRESS_S = 2.0
"""How long a known address may take to answer. One of a Service that was deleted never does: its
namespace may have been made again, with another address."""


class Target:
    """Where connections go to. A Service is looked up once, and again when it does not answer."""

    def __init__(self, target: str, folder: Path) -> None:
        self._service, _, self._port = target.rpartition(":")
        self._folder = folder
        self._targets: tuple[str, int] | None = None

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Open a connection.

        Raises:
            OSError: There is nobody.
        """
        if self._targets is not None:
            with suppress(OSError):  # A timeout is one, too.
                connecting = asyncio.open_connection(*self._targets)
                return await asyncio.wait_for(connecting, KNOWN_ADDRESS_S)
        self._targets = await asyncio.to_thread(self._look_up)
        return await asyncio.open_connection(*self._targets)

    def _look_up(self) -> tuple[str, int]:
        namespace, _, name = self._service.rpartition("/")
        if not namespace:
            return self._service, int(self._port)
        api = Api(
            f"https://{ADDRESS}:6443", keys.token(self._folder, "admin"), self._folder / "ca.crt"
        )
        service = api.get(f"/api/v1/namespaces/{namespace}/services/{name}")
        if service is None:
            raise ConnectionError(f"there is no Service {name} in {namespace}")
        ports = {
            str(port_spec.get("name")): int(port_spec["port"])
            for port_spec in service["spec"]["ports"]
        }
        number = ports[self._port] if self._port in ports else int(self._port)
        return str(service["spec"]["clusterIP"]), number


async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Pass one direction on until it ends."""
    with suppress(OSError):
        while chunk := await reader.read(CHUNK_BYTES):
            writer.write(chunk)
            await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()


async def serve(listening: socket.socket, target: Target) -> None:
    """Pass connections on, for ever."""

    async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            other_reader, other_writer = await target.connect()
        except (OSError, ValueError) as error:
            sys.stderr.write(f"{error}\n")
            writer.close()
            return
        await asyncio.gather(copy(reader, other_writer), copy(other_reader, writer))
        for stream in (writer, other_writer):
            stream.close()
            with suppress(OSError):
                await stream.wait_closed()

    async with await asyncio.start_server(pass_on, sock=listening) as server:
        await server.serve_forever()


def main() -> None:
    """Take the socket, step into the network, serve."""
    descriptor, target, network, folder = sys.argv[1:]
    listening = socket.socket(fileno=int(descriptor))
    libc = ctypes.CDLL(None, use_errno=True)
    entered = os.open(network, os.O_RDONLY | os.O_CLOEXEC)
    if libc.setns(entered, CLONE_NEWNET):
        sys.exit(f"{network}: {os.strerror(ctypes.get_errno())}")
    os.close(entered)
    asyncio.run(serve(listening, Target(target, Path(folder))))


if __name__ == "__main__":
    main()
