"""What this machine lacks for what is to be applied: a port, a GPU, room on the disk, a key."""

import os
import shutil
import socket
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from stockpot.api.complaints import Complaint
from stockpot.api.reading import refuse
from stockpot.api.runspec import Place
from stockpot.api.training import WeightsDtype
from stockpot.api.v1alpha1 import DataShard, Soup
from stockpot.errors import ExitCode, StockpotError
from stockpot.local.environment import FolderEnvironment
from stockpot.local.layout import Layout
from stockpot.store.base import unet_parameters
from stockpot.unlearning.keys import load_private_key

HOST = "127.0.0.1"
"""Where a server of local mode listens."""
_GPU_FILES = ("/dev/nvidiactl", "/dev/nvidia0", "/proc/driver/nvidia", "/dev/dxg", "/dev/kfd")
_BYTES = {WeightsDtype.FP16: 2, WeightsDtype.BF16: 2, WeightsDtype.FP32: 4}


@dataclass(frozen=True)
class Fault:
    """One thing that would go wrong, and how a process ends that meets it."""

    complaint: Complaint
    exit_code: ExitCode


@dataclass(frozen=True)
class ServerView:
    """The server of one soup, as it is now."""

    soup: str
    is_running: bool
    port: int | None
    """Where it answers; None while it does not."""


def port_faults(servers: Sequence[ServerView], port: int, *, is_told: bool) -> Iterator[Fault]:
    """Say why the servers cannot be where they should be.

    Args:
        servers: Those of soups that are to be served.
        port: The one that was told, now or before; 0 is any free one.
        is_told: Whether it was told now.
    """
    place = f"--port {port}" if is_told else ""
    elsewhere = [
        server for server in servers if server.is_running and server.port not in {None, port}
    ]
    if is_told and port and elsewhere:
        yield Fault(
            Complaint(
                f"the server of Soup {elsewhere[0].soup} answers on port {elsewhere[0].port} "
                "already",
                place=place,
                help="end it first, then apply again: stockpot local down",
            ),
            ExitCode.PORT_TAKEN,
        )
    starting = [server.soup for server in servers if not server.is_running]
    if not starting or port == 0:
        return
    there = [server.soup for server in servers if server.is_running and server.port in {None, port}]
    if len(starting) + len(there) > 1:
        names = ", ".join(sorted({*starting, *there}))
        yield Fault(
            Complaint(
                f"several Soups would be served on port {port}: {names}",
                place=place,
                help="give each a folder of its own (--dir), or any free port: --port 0",
            ),
            ExitCode.PORT_TAKEN,
        )
    elif why := _why_taken(port):
        yield Fault(
            Complaint(
                f"port {port} of {HOST} cannot be used: {why}",
                place=place,
                help=f"end what uses it (ss -ltnp 'sport = :{port}'), or choose another: --port",
            ),
            ExitCode.PORT_TAKEN,
        )


def _why_taken(port: int) -> str:
    """Try a port as the server will; empty where it is free."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind((HOST, port))
            listening.listen()
        except OSError as error:
            return error.strerror or str(error)
    return ""


def folder_faults(layout: Layout) -> Iterator[Fault]:
    """Say which folder of local mode cannot be written."""
    for folder in (layout.root, layout.objects, layout.store, layout.root / "runs"):
        if folder.exists() and not os.access(folder, os.W_OK | os.X_OK):
            yield Fault(
                Complaint(f"{folder} cannot be written by this user", help=f"ls -ld {folder}"),
                ExitCode.STORAGE,
            )


def key_faults(layout: Layout) -> Iterator[Fault]:
    """Say why receipts cannot be signed with the key that is there."""
    if not layout.signing_key.exists():
        return
    try:
        load_private_key(layout.signing_key)
    except StockpotError as error:
        yield Fault(Complaint(error.message, help=error.help), error.exit_code)


def key_notes(layout: Layout) -> Iterator[Complaint]:
    """Say that a deletion will wait for a key, where there is none."""
    if not layout.signing_key.exists():
        yield Complaint(
            "there is no signing key, and a deletion waits for one",
            help=f"make it: stockpot keygen --out {layout.signing_key}",
        )


def space_faults(
    layout: Layout,
    surroundings: FolderEnvironment,
    soups: Iterable[Soup],
    untrained: Sequence[DataShard],
) -> Iterator[Fault]:
    """Say where the disk has less room than what is certain to be written.

    Args:
        layout: The folder that everything is kept in.
        surroundings: Where bases are.
        soups: Those that are applied, and those of shards that are.
        untrained: Shards that are to be trained.
    """
    needed = 0
    for soup in soups:
        meta = soup.metadata
        shards = sum(
            1
            for shard in untrained
            if (shard.metadata.namespace, shard.spec.soup_ref.name) == (meta.namespace, meta.name)
        )
        needed += _needed_bytes(soup, shards, surroundings) if shards else 0
    free = shutil.disk_usage(layout.root).free
    count = f"{len(untrained)} shard{'s' if len(untrained) > 1 else ''}"
    if needed > free:
        yield Fault(
            Complaint(
                f"{layout.root} has {_gib(free)} free, and the weights of {count} and "
                f"their mean take at least {_gib(needed)}",
                help="free some space there, or choose another folder: --dir",
            ),
            ExitCode.STORAGE,
        )


def _needed_bytes(soup: Soup, shards: int, surroundings: FolderEnvironment) -> int:
    """The least that training and merging write; 0 where the base does not say it."""
    try:
        location = surroundings.locate(soup.spec.base)
        store = surroundings.store_folder
        is_stored = location.place is Place.STORE
        folder = store / location.path.strip("/") if is_stored else Path(location.path)
        parameters = unet_parameters(folder)
    except StockpotError:
        return 0  # Said of the base.
    training = soup.spec.training
    ingredients = shards * parameters * _BYTES[training.publish_dtype]
    mean = parameters * _BYTES[soup.spec.merge.output]
    saves = training.checkpointing_steps < training.max_train_steps
    # A checkpoint holds the weights, two moments, and an average where there is one.
    columns = (4 if training.ema else 3) if saves else 0
    return ingredients + mean + min(shards, training.parallelism) * columns * parameters * 4


def lacks_gpu() -> bool:
    """Whether it is certain that torch will find no GPU. It is not asked: loading it takes long."""
    if os.environ.get("CUDA_VISIBLE_DEVICES", "all").strip() in {"", "-1"}:
        return True
    return not any(Path(name).exists() for name in _GPU_FILES)


def refuse_faults(faults: Iterable[Fault]) -> None:
    """End where anything would go wrong, with all of it.

    Raises:
        Refused: There is a fault. It ends as the one kind of them does, else as a bad manifest.
    """
    found = list(dict.fromkeys(faults))
    codes = {fault.exit_code for fault in found}
    refuse(
        [fault.complaint for fault in found],
        codes.pop() if len(codes) == 1 else ExitCode.INVALID,
    )


def _gib(size_bytes: int) -> str:
    return f"{size_bytes / 2**30:.1f} GiB"
