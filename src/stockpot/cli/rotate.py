"""`stockpot rotate`: words and arguments. What is written is in `stockpot.unlearning.rotate`."""

from pathlib import Path

import click

from stockpot.api.runspec import ObjectRef
from stockpot.cli.receipt_options import ENDPOINT, NAMESPACE, STORE, store_ref
from stockpot.errors import ExitCode, Refused
from stockpot.store.atomic import quoted
from stockpot.store.keys import Keys
from stockpot.store.open import open_store
from stockpot.unlearning.envelope import key_name
from stockpot.unlearning.keys import load_private_key
from stockpot.unlearning.rotate import rotate as hand_over
from stockpot.unlearning.verify.soups import find_soup, soups_in

KEY = click.Path(path_type=Path, dir_okay=False)


@click.command()
@click.argument("soup", metavar="[SOUP]", required=False)
@click.option("--all", "everyone", is_flag=True, help="Every soup of the namespace.")
@STORE
@ENDPOINT
@NAMESPACE
@click.option("--key", required=True, type=KEY, help="The private key that signed until now.")
@click.option("--to", "new", required=True, type=KEY, help="The private key that is to follow it.")
def rotate(
    soup: str | None,
    everyone: bool,
    place: str,
    endpoint: str,
    namespace: str,
    key: Path,
    new: Path,
) -> int:
    """Hand a soup's receipts over from one signing key to the next.

    Writes an entry into the chain of SOUP that both keys have signed; asked again, nothing. Needs
    the right to write receipts into the store. On a cluster the signing pod does it by itself,
    where the old key lies beside the new one: docs/how-to/rotate-the-signing-key.md.
    """
    if bool(soup) == everyone:
        raise Refused(
            "name one soup, or --all" if not soup else f"name soup {soup} or --all, not both",
            help="stockpot rotate soup/emoji …, or stockpot rotate --all …",
            exit_code=ExitCode.USAGE,
        )
    old_key, new_key = load_private_key(key), load_private_key(new)
    if key_name(old_key.public_key()) == key_name(new_key.public_key()):
        raise Refused(
            f"{key} and {new} are one key",
            help=f"make another: stockpot keygen --out {quoted(f'{new}.new')}",
            exit_code=ExitCode.USAGE,
        )
    store, keys = open_store(store_ref(place, endpoint)), Keys(namespace)
    names = soups_in(store, keys)
    code = ExitCode.OK
    for uid in sorted(names) if everyone else [find_soup(store, keys, soup or "")]:
        ref = ObjectRef(namespace=namespace, name=names[uid] or uid, uid=uid)
        try:
            chain = hand_over(store, keys, ref, old_key, new_key)
        except Refused as error:
            # One broken chain is no reason to leave the others with the old key.
            if not everyone:
                raise
            code = code or error.exit_code
            click.echo(f"soup {ref.name} ({uid}): {error}", err=True)
            continue
        click.echo(f"soup {ref.name} ({uid}): {key_name(chain.key)} signs from here on")
        click.echo(f"  --head {chain.last}:{chain.head}")
    return code
