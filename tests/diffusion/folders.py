"""Data folders as others write them, built from names and contents."""

import io
import json
import tarfile
from pathlib import Path

from PIL import Image
from tests.diffusion.pictures import encoded

RED = encoded(Image.new("RGB", (8, 8), "red"))
BLUE = encoded(Image.new("RGB", (8, 8), "blue"))

Content = bytes | str


def put(folder: Path, files: dict[str, Content]) -> Path:
    """Write files, by their paths inside the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    return folder


def lines(*fields: dict[str, object]) -> str:
    """Write a metadata.jsonl."""
    return "".join(json.dumps(line) + "\n" for line in fields)


def link(name: str, target: str, kind: bytes = tarfile.SYMTYPE) -> tarfile.TarInfo:
    """Make a member of a tar that is a link."""
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, target
    return member


def tar(*members: tuple[str, Content] | tarfile.TarInfo, format: int = tarfile.GNU_FORMAT) -> bytes:  # noqa: A002
    """Write a tar: members in this order, by name and content."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=format) as archive:
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                archive.addfile(member)
                continue
            name, content = member
            data = content.encode() if isinstance(content, str) else content
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return file.getvalue()
