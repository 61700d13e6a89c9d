"""Decode one picture: upright, in RGB with 8 bits a channel, transparency laid on white.

Pillow alone would, for example, clip values of more than 8 bits to white. A picture that cannot be
decoded as its author meant is refused with a reason; one that is decoded in part (the first of
several frames, without its colour profile) is noted.
"""

# H and W picture height and width, in pixels.

import io
import struct
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms, ImageOps, PngImagePlugin, UnidentifiedImageError

from stockpot.api.omissions import OmissionReason

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")
"""What Pillow may decode: its other formats are rare in data sets and common in attacks."""

# Pillow calls a PNG broken that has a text or colour profile of more than 1 MiB.
PngImagePlugin.MAX_TEXT_CHUNK = PngImagePlugin.MAX_TEXT_MEMORY

_PNG = b"\x89PNG\r\n\x1a\n"
_TEXT_CHUNKS = frozenset({b"tEXt", b"zTXt", b"iTXt"})
_ORIENTATION_KEYS = (b"XML:com.adobe.xmp\0", b"Raw profile type exif\0")
"""Text chunks that may hold the orientation."""
_SIGNATURES = (
    (4, b"ftypavif", "AVIF"),
    (4, b"ftypavis", "AVIF"),
    (4, b"ftyphei", "HEIC"),
    (4, b"ftyphev", "HEIC"),
    (4, b"ftypmif1", "HEIF"),
    (4, b"ftyp", "a video"),
    (0, b"\x00\x00\x00\x0cJXL ", "JPEG XL"),
    (0, b"\xff\x0a", "JPEG XL"),
    (0, b"\x00\x00\x00\x0cjP  ", "JPEG 2000"),
    (0, b"8BPS", "PSD"),
    (0, b"%PDF", "PDF"),
    (0, b"<svg", "SVG"),
    (0, b"<?xml", "XML"),
    (0, b"<!DOCTYPE", "HTML"),
    (0, b"<html", "HTML"),
)
_READ_SIGNATURES = (
    (_PNG, "PNG"),
    (b"\xff\xd8\xff", "JPEG"),
    (b"RIFF", "WEBP"),
    (b"GIF8", "GIF"),
    (b"BM", "BMP"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
)
_BITS_PER_SAMPLE, _PHOTOMETRIC, _SAMPLE_FORMAT = 258, 262, 339
_WHITE_IS_ZERO, _SIGNED = 0, 2
_SRGB_COLORANTS = ((0.4361, 0.2225, 0.0139), (0.3851, 0.7169, 0.0971), (0.1431, 0.0606, 0.7141))
"""XYZ of red, green and blue in the profile of sRGB, adapted to D50."""


class Undecodable(Exception):
    """A picture cannot be decoded as its author meant it. The message says why."""


@dataclass(frozen=True)
class DecodedPicture:
    """A picture, with notes of what the file holds beyond it."""

    image: Image.Image
    notes: tuple[OmissionReason, ...] = ()


@dataclass(frozen=True)
class _Samples:
    """The sample format, from the file's header."""

    raw_mode: str
    bits: int
    is_signed: bool
    is_white_zero: bool


def decode_picture(data: bytes) -> DecodedPicture:
    """Decode the bytes of one picture. Its content decides the format, not its name.

    Raises:
        Undecodable: They are no picture of a format that is read, or cannot be decoded without
            losing what they show.
    """
    if not data:
        raise Undecodable("the file is empty")
    try:
        with _open(_without_text(data)) as picture:
            samples = _samples(picture)
            notes = tuple(_notes(picture, data))
            return DecodedPicture(_to_rgb(ImageOps.exif_transpose(picture), samples), notes)
    except (Undecodable, MemoryError):
        raise
    # On damaged input, decoders raise many kinds of errors.
    except Exception as error:
        raise Undecodable(_why(error, data)) from error


def _open(data: bytes) -> Image.Image:
    with warnings.catch_warnings():
        # Pillow warns at half the number of pixels that it refuses at; only the refusal counts.
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        return Image.open(io.BytesIO(data), formats=FORMATS)


def _why(error: Exception, data: bytes) -> str:
    if data.startswith(b"version https://git-lfs"):
        return "it is a Git LFS pointer: run git lfs pull"
    if isinstance(error, UnidentifiedImageError):
        head = data[:64].lstrip(b"\xef\xbb\xbf \r\n\t")
        for offset, signature, name in _SIGNATURES:
            start = data if offset else head
            if start[offset:].startswith(signature) or head.startswith(signature):
                return f"it is {name}, which is not read"
        for signature, name in _READ_SIGNATURES:
            if data.startswith(signature):
                return f"it is a {name} that is damaged, or of a rare kind that is not read"
        return f"it is none of {', '.join(FORMATS)}"
    if isinstance(error, Image.DecompressionBombError):
        return f"it has more than {2 * (Image.MAX_IMAGE_PIXELS or 0)} pixels"
    return str(error).partition(" <")[0] or type(error).__name__


# ---------------------------------------------------------------------------------- samples


def _samples(picture: Image.Image) -> _Samples:
    tiles = getattr(picture, "tile", ())
    arguments = tiles[0].args if tiles else ""
    raw_mode = str(arguments[0] if isinstance(arguments, tuple) and arguments else arguments)
    is_deep_png = picture.format == "PNG" and raw_mode.endswith(";16B")
    tags = getattr(picture, "tag_v2", {})
    bits = tags.get(_BITS_PER_SAMPLE) or (16 if is_deep_png else 8,)
    formats = tags.get(_SAMPLE_FORMAT) or (1,)
    return _Samples(
        raw_mode=raw_mode,
        bits=int(max(bits)),
        is_signed=_SIGNED in formats,
        is_white_zero=tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO,
    )


def _to_rgb(picture: Image.Image, samples: _Samples) -> Image.Image:
    mode = picture.mode
    if samples.is_signed and samples.bits <= 16:
        raise Undecodable(f"its {samples.bits}-bit numbers are signed: save it as unsigned")
    if mode == "F" or mode.startswith("I"):
        return _from_numbers(picture, samples)
    if mode in {"La", "RGBa"}:
        picture = picture.convert("LA" if mode == "La" else "RGBA")
    if samples.bits == 16 and isinstance(picture.info.get("transparency"), tuple):
        # Compared after they are cut to 8 bits, other colours would be transparent, too.
        raise Undecodable("it has 16 bits a channel and a transparent colour: save it with 8 bits")
    _scale_transparency(picture, samples.raw_mode)
    rgb = _on_white(picture)
    if samples.bits == 16 and rgb.getextrema() == ((0, 0),) * 3:
        raise Undecodable("it has 16 bits a channel, and no value is above 255 of 65535")
    return rgb


def _on_white(picture: Image.Image) -> Image.Image:
    if picture.mode in {"RGBA", "LA", "PA"} or "transparency" in picture.info:
        rgba = picture.convert("RGBA")
        white = Image.new("RGBA", rgba.size, "white")
        return Image.alpha_composite(white, rgba).convert("RGB")
    return picture.convert("RGB")


def _scale_transparency(picture: Image.Image, raw_mode: str) -> None:
    """Bring the transparent shade of a grey PNG of 2 or 4 bits to the 8 bits of its pixels."""
    shade = picture.info.get("transparency")
    factor = {"L;2": 85, "L;4": 17}.get(raw_mode)
    if factor and isinstance(shade, int):
        picture.info["transparency"] = shade * factor


def _from_numbers(picture: Image.Image, samples: _Samples) -> Image.Image:
    """Bring grey of 12, 16 or 32 bits, or of floats, to 8 bits.

    A 16-bit file spans 0 to 65535, and a 32-bit one is read so where its values are above 255 and
    fit; floats span 0 to 1. Nothing else is guessed.
    """
    values_HW: NDArray[Any] = np.asarray(picture)  # noqa: N806
    grey_HW = (  # noqa: N806
        _from_floats(values_HW) if picture.mode == "F" else _from_integers(values_HW, samples)
    )
    if samples.is_white_zero:
        grey_HW = 255 - grey_HW  # noqa: N806
    if grey_HW.min() == grey_HW.max() and values_HW.min() != values_HW.max():
        raise Undecodable(f"nothing is left of its {_span(values_HW)} in 8 bits")
    shade = picture.info.get("transparency")
    if isinstance(shade, int):
        grey_HW = np.where(values_HW == shade, np.uint8(255), grey_HW)  # noqa: N806
    return Image.fromarray(grey_HW).convert("RGB")


def _from_integers(values_HW: NDArray[Any], samples: _Samples) -> NDArray[np.uint8]:  # noqa: N803
    bits = samples.bits if 8 < samples.bits < 16 else 16
    numbers = values_HW.astype(np.int64)
    if samples.bits == 32 and not samples.is_signed:
        numbers &= 0xFFFFFFFF  # Pillow has no mode for them, and reads them as signed.
    low, high = int(numbers.min()), int(numbers.max())
    if low < 0 or high >= 1 << bits:
        raise Undecodable(f"its {_span(numbers)} are not within 0 and {(1 << bits) - 1}")
    if bits == 16 and 0 < high <= 255:
        raise Undecodable(f"its {_span(numbers)} look like 8 bits in a file of more: save 8 bits")
    return (numbers >> (bits - 8)).astype(np.uint8)


def _from_floats(values_HW: NDArray[Any]) -> NDArray[np.uint8]:  # noqa: N803
    numbers = values_HW.astype(np.float64)
    if not np.isfinite(numbers).all():
        raise Undecodable("it has values that are not numbers")
    rounded = np.rint(numbers * 255)
    if rounded.min() < 0 or rounded.max() > 255:
        raise Undecodable(f"its {_span(values_HW)} are not within 0 and 1")
    return rounded.astype(np.uint8)


def _span(values_HW: NDArray[Any]) -> str:  # noqa: N803
    return f"values from {values_HW.min():g} to {values_HW.max():g}"


# ------------------------------------------------------------------------------------ notes


def _notes(picture: Image.Image, data: bytes) -> list[OmissionReason]:
    notes = []
    if _has_more_frames(picture, data):
        notes.append(OmissionReason.EXTRA_FRAMES)
    if not _is_srgb(picture):
        notes.append(OmissionReason.COLOUR_PROFILE)
    return notes


def _has_more_frames(picture: Image.Image, data: bytes) -> bool:
    if picture.format not in {"GIF", "TIFF"}:
        return bool(getattr(picture, "is_animated", False))
    # These move on to the next frame to see whether there is one: not in the picture that is used.
    with _open(data) as other:
        try:
            if picture.format == "GIF":
                return bool(getattr(other, "is_animated", False))
            return int(getattr(other, "n_frames", 1)) > 1
        # Frames after the first are not used, damaged or not.
        except Exception:
            return True


def _is_srgb(picture: Image.Image) -> bool:
    """Whether its colours are sRGB. Profiles of grey pictures are ignored: they have no hues."""
    if picture.mode == "CMYK":
        return False
    profile = picture.info.get("icc_profile")
    if not profile or picture.mode in {"1", "L", "LA", "LAB", "I", "F"} or "I;" in picture.mode:
        return True
    try:
        core = ImageCms.ImageCmsProfile(io.BytesIO(profile)).profile
        colorants = (core.red_colorant, core.green_colorant, core.blue_colorant)
    except (OSError, ValueError, ImageCms.PyCMSError):
        return False
    return all(
        colorant is not None and np.allclose(colorant[0], expected, atol=0.01)
        for colorant, expected in zip(colorants, _SRGB_COLORANTS, strict=True)
    )


def _without_text(data: bytes) -> bytes:
    """Remove text chunks from a PNG: Pillow refuses a PNG with many of them.

    Programs store whole workflows there. Chunks that may hold the orientation stay.
    """
    if not data.startswith(_PNG) or not any(kind in data for kind in _TEXT_CHUNKS):
        return data
    parts, offset, view = [data[:8]], 8, memoryview(data)
    while offset + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, offset)
        end = offset + 12 + length
        if end > len(data):
            break  # It is cut short: the decoder says so.
        content = data[offset + 8 : offset + 8 + 32]
        if kind not in _TEXT_CHUNKS or content.startswith(_ORIENTATION_KEYS):
            parts.append(bytes(view[offset:end]))
        offset = end
    return b"".join((*parts, data[offset:]))
