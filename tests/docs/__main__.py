"""Count the blocks of all pages: `python -m tests.docs`."""

import click
from tests.docs.pages import blocks, summary

for block in blocks():
    if block.way == "not run":
        click.echo(f"  {block.where} is not run: {block.marks['not run']}")
click.echo(summary())
