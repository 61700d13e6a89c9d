"""What may exist under the name of an output, and helpers for its tests."""

import os
import socket
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from stockpot.errors import StockpotError
from stockpot.store.outputs import write_output

OLD, NEW = b"old", b"new bytes"

NOBODY = 65534

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="device nodes and mounts need root")


def no_tmpfile(folder: int, mode: int) -> None:
    """Simulate a file system without unnamed files, such as NFS."""
    del folder, mode


@contextmanager
def umask(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


@contextmanager
def working_in(folder: Path) -> Iterator[None]:
    before = os.open(".", os.O_RDONLY)
    os.chdir(folder)
    try:
        yield
    finally:
        os.fchdir(before)
        os.close(before)


@contextmanager
def as_nobody() -> Iterator[None]:
    os.setegid(NOBODY)
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def mode_of(path: Path) -> str:
    return oct(stat.S_IMODE(path.stat().st_mode))


def refusal(path: Path) -> StockpotError:
    with pytest.raises(StockpotError) as caught:
        write_output(path, NEW)
    assert caught.value.help
    return caught.value


def a_link(path: Path) -> None:
    path.with_name("target").write_bytes(OLD)
    path.symlink_to("target")


def a_hard_link(path: Path) -> None:
    path.with_name("target").write_bytes(OLD)
    path.hardlink_to(path.with_name("target"))


def a_socket(path: Path) -> None:
    with working_in(path.parent), socket.socket(socket.AF_UNIX) as bound:
        bound.bind(path.name)


def a_device(kind: int) -> Callable[[Path], None]:
    return lambda path: os.mknod(path, 0o666 | kind, os.makedev(1, 3))


def a_link_to_a_device(path: Path) -> None:
    a_device(stat.S_IFCHR)(path.with_name("device"))
    path.symlink_to("device")


STANDING: dict[str, tuple[Callable[[Path], object], str]] = {
    "a link": (a_link, "is a symbolic link"),
    "a dangling link": (lambda path: path.symlink_to("absent"), "is a symbolic link"),
    "a link to itself": (lambda path: path.symlink_to(path.name), "is a symbolic link"),
    "a link to a folder": (lambda path: path.symlink_to("."), "is a symbolic link"),
    "a hard link": (a_hard_link, "is one of 2 names of a file"),
    "a folder": (lambda path: path.mkdir(), "is a folder"),
    "a pipe": (os.mkfifo, "is a pipe"),
    "a socket": (a_socket, "is a socket"),
}


DEVICES: dict[str, tuple[Callable[[Path], object], str]] = {
    "a character device": (a_device(stat.S_IFCHR), "is a device"),
    "a block device": (a_device(stat.S_IFBLK), "is a device"),
    "a link to a device": (a_link_to_a_device, "is a symbolic link"),
}
