"""Whether a client is still there while its pictures are drawn.

An ASGI server says so to whoever asks for the next message of a request that came whole.
"""

import asyncio
from typing import Any

from starlette.types import Receive

READ_ON_S = 0.25
"""While a client waits, how often its connection is read on."""


async def client_leaves_before(answer: asyncio.Future[Any], receive: Receive) -> bool:
    """Wait for an answer; true if the client closes its connection before there is one.

    Args:
        answer: What the client waits for; it goes on, whatever the client does.
        receive: Of a request whose body was read to its end.
    """
    departure = asyncio.create_task(_departure(receive))
    try:
        await asyncio.wait({answer, departure}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        departure.cancel()
    return not answer.done()


async def _departure(receive: Receive) -> None:
    while True:
        try:
            # uvicorn stops reading a connection on which the next request arrives early, and
            # goes on when it is asked for a message: or it would never see the end of it.
            message = await asyncio.wait_for(receive(), READ_ON_S)
        except TimeoutError:
            continue
        if message["type"] == "http.disconnect":
            return
