"""Prints notes: findings that are no errors."""

import click

from stockpot.api.complaints import Complaint


def print_note(note: Complaint) -> None:
    """Write a note to stderr."""
    click.secho("note: ", err=True, nl=False, bold=True)
    click.echo(str(note), err=True)
