"""`stockpot generate`: write what is made from models, or say what has drifted from them."""

from pathlib import Path

import click

from stockpot.api.crd import crd_files
from stockpot.api.reference import pages
from stockpot.cluster.chart.generation import chart_files
from stockpot.errors import Refused
from stockpot.metrics.dashboard import dashboard


def generated() -> dict[str, str]:
    """The text of every generated file, by its path in the repository."""
    crds = {f"crds/{name}": text for name, text in crd_files().items()}
    reference = {f"docs/reference/{name}": text for name, text in pages().items()}
    dashboards = {"charts/stockpot/dashboards/soup-quality.json": dashboard()}
    return crds | reference | chart_files() | dashboards


def drifted(root: Path) -> list[str]:
    """Which generated files are not as the models would have them; none: all is well."""
    found = []
    for name, text in generated().items():
        file = root / name
        if not file.is_file() or file.read_text(encoding="utf-8") != text:
            found.append(name)
    expected = {Path(name) for name in generated()}
    wholly = ("crds/*.yaml", "charts/stockpot/templates/crds/*", "charts/stockpot/dashboards/*")
    strangers = {path.relative_to(root) for place in wholly for path in root.glob(place)} - expected
    return sorted([*found, *map(str, strangers)])


@click.command()
@click.option("--check", is_flag=True, help="Write nothing; fail if a file has drifted.")
@click.option(
    "--root",
    default=".",
    type=click.Path(file_okay=False, exists=True, path_type=Path),
    help="The repository.",
)
def generate(check: bool, root: Path) -> None:
    """Write CRDs, reference pages, and what of the chart is made from models."""
    if check:
        if names := drifted(root):
            raise Refused(f"{', '.join(names)}: not as the models say", help="run: make generate")
        return
    for name, text in generated().items():
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
        click.echo(f"wrote {name}")
