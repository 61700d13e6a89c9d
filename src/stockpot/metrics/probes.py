"""The operator's port: `/livez` and `/readyz` for the kubelet, `/metrics` for Prometheus."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from stockpot.metrics.http_server import Response, serve_routes
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
    """Serve probes and metrics on threads of their own, so that they respond during long work.

    Args:
        meters: The metrics of `/metrics`.
        is_live: If False, the kubelet restarts the container. Called from another thread.
        is_ready: If False, the pod does not count as available. Called from another thread.
        host: The address to listen on.
        port: The port; 0 chooses a free one.

    Yields:
        The URL of the server from this machine, without a path.

    Raises:
        Refused: The port is taken (exit 6).
    """

    def probe(check: Callable[[], bool]) -> Callable[[], Response]:
        def answer() -> Response:
            good = check()
            return Response(200 if good else 503, "text/plain", b"yes\n" if good else b"no\n")

        return answer

    def metrics() -> Response:
        return Response(200, CONTENT_TYPE_PLAIN_0_0_4, meters.text())

    with serve_routes(
        {"/livez": probe(is_live), "/readyz": probe(is_ready), "/metrics": metrics},
        host=host,
        port=port,
        port_help="another operator may run here: end it",
    ) as url:
        yield url
