"""`stockpot rotate`: arguments and output. `stockpot.unlearning.rotate` writes the rotation."""

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
@click.option("--all", "all_soups", is_flag=True, help="All soups of the namespace.")
@STORE
@ENDPOINT
@NAMESPACE
@click.option(
    "--key", required=True, type=KEY, help="File with the private key that signed until now."
)
@click.option(
    "--to",
    "new",
    required=True,
    type=KEY,
    help="File with the private key to sign with from now on.",
)
def rotate(
    soup: str | None,
    all_soups: bool,
    place: str,
    endpoint: str,
    namespace: str,
    key: Path,
    new: Path,
) -> int:
    """Hand a soup's receipt chain over to a new signing key.

    Appends an entry signed by both keys to the chain of SOUP; run again, it changes nothing. Needs
    permission to write receipts into the store. On a cluster the signing pod rotates by itself, if
    the Secret has the old key beside the new one: docs/how-to/rotate-the-signing-key.md.
    """
    if bool(soup) == all_soups:
        raise Refused(
            "no soup is named" if not soup else f"both soup {soup} and --all are given",
            help="stockpot rotate soup/emoji … for one soup, or stockpot rotate --all …",
            exit_code=ExitCode.USAGE,
        )
    old_key, new_key = load_private_key(key), load_private_key(new)
    if key_name(old_key.public_key()) == key_name(new_key.public_key()):
        raise Refused(
            f"{key} and {new} are the same key",
            help=f"create a new key: stockpot keygen --out {quoted(f'{new}.new')}",
            exit_code=ExitCode.USAGE,
        )
    store, keys = open_store(store_ref(place, endpoint), namespace), Keys(namespace)
    names = soups_in(store, keys)
    code = ExitCode.OK
    for uid in sorted(names) if all_soups else [find_soup(store, keys, soup or "")]:
        ref = ObjectRef(namespace=namespace, name=names[uid] or uid, uid=uid)
        try:
            chain = hand_over(store, keys, ref, old_key, new_key)
        except Refused as error:
            # A broken chain does not keep the other soups from the new key.
            if not all_soups:
                raise
            code = code or error.exit_code
            click.echo(f"soup {ref.name} ({uid}): {error}", err=True)
            continue
        click.echo(f"soup {ref.name} ({uid}): {key_name(chain.key)} signs from here on")
        click.echo(f"  --head {chain.last}:{chain.head}")
    return code
