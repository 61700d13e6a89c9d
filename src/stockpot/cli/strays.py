"""`stockpot strays`: arguments and output. `stockpot.unlearning.strays` finds them."""

import click

from stockpot.cli.receipt_options import ENDPOINT, NAMESPACE, STORE, store_ref
from stockpot.errors import ExitCode, Refused
from stockpot.store.keys import Keys
from stockpot.store.open import open_store
from stockpot.unlearning.strays import find_strays, shown_key

LONGEST_KEY = 1024


@click.command()
@click.argument("keys", nargs=-1, metavar="[KEY…]")
@click.option("--remove", is_flag=True, help="Remove them, with every version of each.")
@STORE
@ENDPOINT
@NAMESPACE
def strays(keys: tuple[str, ...], remove: bool, place: str, endpoint: str, namespace: str) -> None:
    """List objects in a namespace's prefix that no manifest covers, and remove them.

    A purge cannot tell what such objects were made from. It leaves them, and the receipt is
    Incomplete. Look at each: it may be another program's, or planted. Named KEYs limit the list to
    these. Needs the credentials of the unlearn identity: it lists and removes versions.
    """
    store = open_store(store_ref(place, endpoint), namespace)
    listed = find_strays(store, Keys(namespace))
    if unknown := sorted(set(keys) - {info.key for info in listed}):
        raise Refused(
            f"{unknown[0]} is no object without a manifest in {namespace}/",
            help="run it without KEYs: it lists them",
            exit_code=ExitCode.USAGE,
        )
    chosen = [info for info in listed if not keys or info.key in keys]
    for info in chosen:
        if remove:
            store.purge(info)
        version = f" version {info.version}" if info.version else ""
        done = "removed " if remove else ""
        click.echo(f"{done}{shown_key(info.key, LONGEST_KEY)}{version} ({info.size_bytes} bytes)")
    if not chosen:
        click.echo(f"Every object in {namespace}/ has a manifest.")
