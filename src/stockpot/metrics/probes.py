"""The operator's port: `/livez` and `/readyz` for the kubelet, `/metrics` for Prometheus."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from stockpot.metrics.listening import Answer, answering
from stockpot.metrics.operator import OperatorMetrics


@contextmanager
def serve_operator(
    meters: OperatorMetrics,
    *,
    is_live: Callable[[], bool],
    is_ready: Callable[[], bool],
    host: str = "0.0.0.0",  # noqa: S104 - the kubelet and Prometheus come from outside the pod
    port: int = 8080,
) -> Iterator[str]:
    """Answer on threads of its own while the context lasts, so that work never looks like death.

    Args:
        meters: What `/metrics` shows.
        is_live: False: the kubelet kills the container. Asked from another thread.
        is_ready: False: it is not counted as available. Asked from another thread.
        host: The address to listen on.
        port: 0: any free one.

    Yields:
        The URL that it is asked under from the same machine, without a path.

    Raises:
        Refused: The port is taken (exit 6).
    """

    def probe(is_so: Callable[[], bool]) -> Callable[[], Answer]:
        def answer() -> Answer:
            good = is_so()
            return Answer(200 if good else 503, "text/plain", b"yes\n" if good else b"no\n")

        return answer

    def metrics() -> Answer:
        return Answer(200, CONTENT_TYPE_PLAIN_0_0_4, meters.text())

    with answering(
        {"/livez": probe(is_live), "/readyz": probe(is_ready), "/metrics": metrics},
        host=host,
        port=port,
        instead="another operator may run here: end it",
    ) as url:
        yield url
