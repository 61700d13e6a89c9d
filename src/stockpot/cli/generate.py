"""`stockpot generate`: writes the generated files, or checks that they are up to date."""

from pathlib import Path

import click

from stockpot.api.crd import crd_files
from stockpot.api.reference import pages
from stockpot.cli.module_list import with_module_list
from stockpot.cluster.chart.generation import chart_files
from stockpot.errors import Refused
from stockpot.metrics.dashboard import dashboard


def generated(root: Path) -> dict[str, str]:
    """Return the text of every generated file, by its path in the repository `root`."""
    crds = {f"crds/{name}": text for name, text in crd_files().items()}
    reference = {f"docs/reference/{name}": text for name, text in pages().items()}
    dashboards = {"charts/stockpot/dashboards/soup-quality.json": dashboard()}
    page = root / "ARCHITECTURE.md"
    text = page.read_text(encoding="utf-8") if page.is_file() else ""
    architecture = {"ARCHITECTURE.md": with_module_list(text)}
    return crds | reference | chart_files() | dashboards | architecture


def drifted(root: Path) -> list[str]:
    """List the generated files that differ from what `generate` would write."""
    changed = []
    for name, text in generated(root).items():
        file = root / name
        if not file.is_file() or file.read_text(encoding="utf-8") != text:
            changed.append(name)
    expected = {Path(name) for name in generated(root)}
    wholly = ("crds/*.yaml", "charts/stockpot/templates/crds/*", "charts/stockpot/dashboards/*")
    strangers = {path.relative_to(root) for place in wholly for path in root.glob(place)} - expected
    return sorted([*changed, *map(str, strangers)])


@click.command()
@click.option("--check", is_flag=True, help="Write nothing; fail if a file is out of date.")
@click.option(
    "--root",
    default=".",
    type=click.Path(file_okay=False, exists=True, path_type=Path),
    help="Folder of the repository.",
)
def generate(check: bool, root: Path) -> None:
    """Write CRDs, reference pages, generated chart files and the list of modules."""
    if check:
        if names := drifted(root):
            raise Refused(
                f"generated files are out of date: {', '.join(names)}", help="run: make generate"
            )
        return
    for name, text in generated(root).items():
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
        click.echo(f"wrote {name}")
