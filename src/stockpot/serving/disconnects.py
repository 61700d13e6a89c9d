"""Detects that a client disconnects while its pictures are drawn.

After the last message of a request's body, the next message of an ASGI server is the disconnect.
"""

import asyncio
from typing import Any

from starlette.types import Receive

POLL_S = 0.25
"""How often the connection of a waiting client is read, in seconds."""


async def client_leaves_before(answer: asyncio.Future[Any], receive: Receive) -> bool:
    """Wait for an answer; return true if the client closes its connection before it comes.

    Args:
        answer: What the client waits for; a disconnect does not cancel it.
        receive: The ASGI receive function of a request whose body was read to its end.
    """
    disconnect = asyncio.create_task(_disconnected(receive))
    try:
        await asyncio.wait({answer, disconnect}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        disconnect.cancel()
    return not answer.done()


async def _disconnected(receive: Receive) -> None:
    while True:
        try:
            # uvicorn stops reading a connection on which the next request arrives early, and
            # goes on when it is asked for a message: or it would never see the end of it.
            message = await asyncio.wait_for(receive(), POLL_S)
        except TimeoutError:
            continue
        if message["type"] == "http.disconnect":
            return
