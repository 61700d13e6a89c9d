"""Pictures of every kind, as bytes: what Pillow writes, and what it cannot write, byte by byte."""

import io
import struct
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms, PngImagePlugin

SIDE = 64
RAMP: NDArray[np.float64] = np.linspace(0, 1, SIDE)[None].repeat(SIDE, 0)
"""From black on the left to white on the right."""


def colours() -> Image.Image:
    """Draw a picture of many colours."""
    bands = np.dstack([RAMP, RAMP[:, ::-1], RAMP.T])
    return Image.fromarray((bands * 255).astype(np.uint8))


def encoded(picture: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    """Encode a picture."""
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def grey(values_HW: NDArray[Any], kind: str = "PNG", **options: Any) -> bytes:  # noqa: N803
    """Encode one channel of numbers, of the kind that they are."""
    return encoded(Image.fromarray(values_HW), kind, **options)


def animated(kind: str) -> bytes:
    """Encode two frames, of which the second is red."""
    frame = Image.new("RGB", (SIDE, SIDE), "red")
    return encoded(colours(), kind, save_all=True, append_images=[frame])


def with_text(**chunks: str) -> bytes:
    """Encode a PNG with compressed text chunks."""
    text = PngImagePlugin.PngInfo()
    for keyword, content in chunks.items():
        text.add_text(keyword, content, zip=True)
    return encoded(colours(), pnginfo=text)


def with_profile(description: str) -> bytes:
    """Encode a JPEG with a colour profile: `sRGB`, or one whose red and blue are exchanged."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    if description != "sRGB":
        red, blue = profile.index(b"rXYZ"), profile.index(b"bXYZ")
        tags = bytearray(profile)
        tags[red : red + 4], tags[blue : blue + 4] = b"bXYZ", b"rXYZ"
        profile = bytes(tags)
    return encoded(colours(), "JPEG", icc_profile=profile)


def png(
    width: int, height: int, depth: int, colour: int, rows: bytes, *, trns: bytes = b""
) -> bytes:
    """Write a PNG of any depth; each row begins with a zero."""
    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    chunks = [(b"IHDR", head), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    if trns:
        chunks.insert(1, (b"tRNS", trns))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )


def tiff(values_HW: NDArray[Any], *, sample_format: int = 1, photometric: int = 1) -> bytes:  # noqa: N803
    """Write an uncompressed TIFF of one channel, in the byte order of its numbers."""
    order = ">" if values_HW.dtype.byteorder == ">" else "<"
    height, width = values_HW.shape
    data = values_HW.tobytes()
    tags = [
        *((256, 4, width), (257, 4, height), (258, 3, values_HW.dtype.itemsize * 8), (259, 3, 1)),
        *((262, 3, photometric), (273, 4, 8), (277, 3, 1), (278, 4, height), (279, 4, len(data))),
        (339, 3, sample_format),
    ]
    head = (b"II" if order == "<" else b"MM") + struct.pack(order + "HI", 42, 8 + len(data))
    entries = b"".join(
        struct.pack(order + "HHI", tag, kind, 1)
        + (struct.pack(order + "I", value) if kind == 4 else struct.pack(order + "HH", value, 0))
        for tag, kind, value in tags
    )
    return head + data + struct.pack(order + "H", len(tags)) + entries + bytes(4)
