"""The Grafana dashboard *Soup quality*: its rows, panels, variables and annotations.

Expressions may name the variables `$namespace` and `$soup`. The operator's series have these labels
themselves; the scrape configuration adds them to the servers' series.
"""

from typing import Any

from stockpot.metrics.grafana import Annotation, Panel, Query, Row, Variable, dashboard_json


def dashboard() -> str:
    """Return the content of `charts/stockpot/dashboards/soup-quality.json`."""
    return dashboard_json(
        uid="stockpot-soup-quality",
        title="Soup quality",
        description="Soups, their shards and revisions, and unlearnings in progress.",
        rows=ROWS,
        variables=VARIABLES,
        annotations=ANNOTATIONS,
    )


def _of(name: str, **labels: str) -> str:
    more = [f'{label}="{value}"' for label, value in labels.items()]
    chosen = ", ".join(('namespace=~"$namespace"', 'soup=~"$soup"', *more))
    return f"{name}{{{chosen}}}"


def _rate(series: str) -> str:
    return f"rate({series}[$__rate_interval])"


def _quantile(share: float, buckets: str) -> str:
    return f"histogram_quantile({share}, sum by (le) ({_rate(buckets)}))"


_REQUESTS = _of("stockpot_serving_requests_total")
_ERRORS = _REQUESTS.replace("}", ', code=~"5.."}')
_REQUEST_S = _of("stockpot_serving_request_duration_seconds_bucket")
_ROUND_S = "stockpot_reconcile_duration_seconds_bucket"
_SOUP = "{{namespace}}/{{soup}}"


def _stat(title: str, description: str, expr: str, **more: Any) -> Panel:
    queries = [Query(expr, "", instant=True)]
    return Panel(title, description, queries, kind="stat", width=3, height=4, **more)


ROWS = (
    Row(
        "Now",
        (
            _stat(
                "Revision",
                "Promotions up to the revision that serves; 0 is the base.",
                f"max({_of('stockpot_current_revision_number')})",
            ),
            _stat(
                "Shards served",
                "Shards that the revision that serves was made with.",
                f"sum({_of('stockpot_shards', state='Included')})",
            ),
            _stat(
                "Shards stalled",
                "Shards that need your action: see kubectl describe shard.",
                f"sum({_of('stockpot_shards', state='Stalled')})",
                thresholds=(("green", None), ("red", 1)),
            ),
            _stat(
                "Servers ready",
                "Servers that are ready for requests.",
                f"sum({_of('stockpot_servers', ready='true')})",
                thresholds=(("red", None), ("green", 1)),
            ),
            _stat(
                "Being forgotten",
                "Shards whose deletion was requested, and whose receipt is not stored yet.",
                f"sum({_of('stockpot_deletions_in_flight')})",
                thresholds=(("green", None), ("orange", 1)),
            ),
            _stat(
                "Oldest deletion",
                "How long the oldest deletion in progress has taken so far.",
                f"max({_of('stockpot_deletion_age_seconds')})",
                unit="s",
                thresholds=(("green", None), ("orange", 60), ("red", 3600)),
            ),
            _stat(
                "Receipts",
                "Unlearnings that were completed and signed.",
                f"sum({_of('stockpot_receipts')})",
            ),
            _stat(
                "Leaders",
                "Operators that hold the lease. If there is none for 20 seconds, see their logs.",
                "sum(stockpot_leader)",
                thresholds=(("red", None), ("green", 1), ("red", 2)),
            ),
        ),
    ),
    Row(
        "Quality",
        (
            Panel(
                "$metric of each revision",
                "The figures of each revision and of the base. A revision's line begins when it is "
                "evaluated, and ends when it is deleted.",
                (
                    Query(_of("stockpot_revision_quality", metric="$metric"), "{{revision}}"),
                    Query(_of("stockpot_baseline_quality", metric="$metric"), "base"),
                ),
                width=16,
                height=9,
                dashed="base",
                decimals=4,
            ),
            Panel(
                "All figures now",
                "The latest figures of each revision that is kept.",
                (
                    Query(
                        _of("stockpot_revision_quality"), "{{metric}} · {{revision}}", instant=True
                    ),
                    Query(_of("stockpot_baseline_quality"), "{{metric}} · base", instant=True),
                ),
                kind="bargauge",
                height=9,
                decimals=4,
            ),
        ),
    ),
    Row(
        "Shards",
        (
            Panel(
                "Shards by state",
                "How many of the soup's shards are in each state.",
                (Query(f"sum by (state) ({_of('stockpot_shards')})", "{{state}}"),),
                stacked=True,
            ),
            Panel(
                "Training",
                "The progress of each shard's training.",
                (Query(_of("stockpot_training_progress_ratio"), "{{shard}}"),),
                unit="percentunit",
            ),
            Panel(
                "Unlearning",
                "The age of the oldest deletion in progress, and the number of all.",
                (
                    Query(_of("stockpot_deletion_age_seconds"), f"{_SOUP} oldest"),
                    Query(_of("stockpot_deletions_in_flight"), f"{_SOUP} in progress"),
                ),
            ),
        ),
    ),
    Row(
        "Serving",
        (
            Panel(
                "Requests",
                "Requests for pictures per second, by the status code of their response.",
                (Query(f"sum by (code) ({_rate(_REQUESTS)})", "{{code}}"),),
                unit="reqps",
                width=6,
            ),
            Panel(
                "Errors",
                "The share of requests that failed with a server error. A changed soup causes "
                "none; a deletion ends requests that outlast drainSeconds.",
                (
                    Query(
                        f"(sum({_rate(_ERRORS)}) or on() vector(0)) / sum({_rate(_REQUESTS)})",
                        "failed",
                    ),
                ),
                unit="percentunit",
                width=6,
            ),
            Panel(
                "Latency",
                "From a request to the end of its response.",
                (
                    Query(_quantile(0.5, _REQUEST_S), "p50"),
                    Query(_quantile(0.95, _REQUEST_S), "p95"),
                ),
                unit="s",
                width=6,
            ),
            Panel(
                "Revision served",
                "The revision of each server. They differ only while a revision is rolled out.",
                (
                    Query(_of("stockpot_serving_revision_number"), "{{pod}}"),
                    Query(f"max({_of('stockpot_current_revision_number')})", "promoted"),
                ),
                width=6,
                dashed="promoted",
            ),
        ),
    ),
    Row(
        "Operator",
        (
            Panel(
                "Reconcile duration",
                "How long the reconciliation of one soup takes.",
                (
                    Query(_quantile(0.5, _ROUND_S), "p50"),
                    Query(_quantile(0.99, _ROUND_S), "p99"),
                ),
                unit="s",
                width=6,
            ),
            Panel(
                "Reconcile errors",
                "Failed reconciliations per second, by error. Each is retried.",
                (
                    Query(
                        "sum by (error) (rate(stockpot_reconcile_errors_total[$__rate_interval]))"
                        " or on() vector(0)",
                        "{{error}}",
                    ),
                ),
                unit="ops",
                width=6,
            ),
            Panel(
                "Queue",
                "Soups that wait for reconciliation. It should return to 0.",
                (
                    # A standby operator queues every event and processes none.
                    Query(
                        "stockpot_queue_depth and on (job, instance) (stockpot_leader == 1)",
                        "waiting",
                    ),
                ),
                width=6,
            ),
            Panel(
                "Memory",
                "The memory of each operator: of the leader, and of standbys with a warm cache.",
                (
                    Query(
                        "process_resident_memory_bytes and on (job, instance) stockpot_leader",
                        "{{instance}}",
                    ),
                ),
                unit="bytes",
                width=6,
            ),
        ),
    ),
)

_OF_NAMESPACE = 'stockpot_shards{namespace=~"$namespace"}'
VARIABLES = (
    Variable("namespace", "label_values(stockpot_shards, namespace)"),
    Variable("soup", f"label_values({_OF_NAMESPACE}, soup)"),
    Variable(
        "metric",
        f"label_values({_of('stockpot_revision_quality')}, metric)",
        default="heldout_loss",
    ),
)
ANNOTATIONS = (
    Annotation(
        "Promotions",
        f"changes({_of('stockpot_current_revision_number')}[$__interval]) > 0",
        "A revision was promoted",
        _SOUP,
    ),
)
