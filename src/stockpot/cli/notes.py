"""Notes: what is not wrong, and not used as it stands."""

import click

from stockpot.api.complaints import Complaint


def print_note(note: Complaint) -> None:
    """Write one, beside the output."""
    click.secho("note: ", err=True, nl=False, bold=True)
    click.echo(str(note), err=True)
