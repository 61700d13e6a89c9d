"""What comes out of a picture of any kind: its shades or a reason, never a black square."""

import os
import struct

import numpy as np
import pytest
from PIL import Image, ImageCms, PngImagePlugin
from tests.diffusion.pictures import (
    RAMP,
    SIDE,
    animated,
    colours,
    encoded,
    grey,
    png,
    tiff,
    with_profile,
    with_text,
)

from stockpot.diffusion.decoding import Undecodable, decode_picture

RAMP_8 = (RAMP * 255).astype(np.uint8)
TURNED = Image.Exif()
TURNED[0x112] = 3  # Upside down.


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(grey((RAMP * 65535).astype(np.uint16)), id="png-16"),
        pytest.param(grey((RAMP * 65535).astype(np.uint16), "TIFF"), id="tiff-16"),
        pytest.param(tiff((RAMP * 65535).astype(">u2")), id="tiff-16-big-endian"),
        pytest.param(
            tiff(((1 - RAMP) * 65535).astype("<u2"), photometric=0), id="tiff-16-inverted"
        ),
        pytest.param(grey((RAMP * 65535).astype(np.int32), "TIFF"), id="tiff-32-signed"),
        pytest.param(tiff((RAMP * 65535).astype("<u4")), id="tiff-32-unsigned"),
        pytest.param(grey(RAMP.astype(np.float32), "TIFF"), id="tiff-float"),
        pytest.param(tiff(RAMP.astype(">f4"), sample_format=3), id="tiff-float-big-endian"),
        pytest.param(
            tiff((1 - RAMP).astype("<f4"), sample_format=3, photometric=0), id="tiff-float-inverted"
        ),
        pytest.param(
            grey((RAMP[:, ::-1] * 65535).astype(np.uint16), exif=TURNED), id="png-16-turned"
        ),
    ],
)
def test_grey_of_more_than_8_bits_keeps_its_shades(data: bytes) -> None:
    picture = np.asarray(decode_picture(data).image).astype(int)

    assert picture.shape == (SIDE, SIDE, 3)
    assert np.abs(picture - RAMP_8[..., None]).max() <= 1


@pytest.mark.parametrize(
    ("data", "why"),
    [
        pytest.param(grey(RAMP_8.astype(np.uint16)), "look like 8 bits", id="8-bits-in-16"),
        pytest.param(grey(RAMP_8.astype(np.int32), "TIFF"), "look like 8 bits", id="8-bits-in-32"),
        pytest.param(
            tiff((RAMP * (2**32 - 1)).astype("<u4")), "to 4.29497e.09 are not within", id="32-bits"
        ),
        pytest.param(grey((RAMP * 99999).astype(np.int32), "TIFF"), "not within", id="17-bits"),
        pytest.param(grey((RAMP * 9999 - 1).astype(np.int32), "TIFF"), "from -1 to", id="negative"),
        pytest.param(tiff((RAMP * 32767).astype("<i2"), sample_format=2), "signed", id="signed-16"),
        pytest.param(tiff((RAMP * 127).astype("i1"), sample_format=2), "signed", id="signed-8"),
        pytest.param(grey((RAMP * 255).astype(np.float32), "TIFF"), "not within 0 and 1", id="255"),
        pytest.param(
            grey((RAMP - 0.5).astype(np.float32), "TIFF"), "from -0.5", id="float-below-0"
        ),
        pytest.param(
            grey(np.where(RAMP > 0.5, np.nan, RAMP).astype(np.float32), "TIFF"),
            "values that are not numbers",
            id="not-a-number",
        ),
        pytest.param(
            grey((RAMP * 1e-4).astype(np.float32), "TIFF"), "nothing is left", id="float-too-dark"
        ),
        pytest.param(tiff(RAMP.astype("<f8"), sample_format=3), "a rare kind", id="float-64"),
        pytest.param(tiff(RAMP.astype("<f2"), sample_format=3), "a rare kind", id="float-16"),
        pytest.param(
            png(2, 1, 16, 2, b"\0" + struct.pack(">6H", 0, 99, 0, 9, 200, 1)),
            "no value is above 255",
            id="colours-of-8-bits-in-16",
        ),
        pytest.param(
            png(
                2,
                1,
                16,
                2,
                b"\0" + struct.pack(">6H", 0x8000, 0x8000, 0x8000, 0, 0, 0),
                trns=struct.pack(">3H", 0x8000, 0x8000, 0x8000),
            ),
            "16 bits a channel and a transparent colour",
            id="transparent-colour-of-16-bits",
        ),
        pytest.param(b"", "empty", id="empty"),
        pytest.param(os.urandom(300), "none of PNG, JPEG", id="noise"),
        pytest.param(encoded(colours(), "AVIF"), "AVIF, which is not read", id="avif"),
        pytest.param(b"\0\0\0\x18ftypheic", "HEIC, which is not read", id="heic"),
        pytest.param(b"<?xml version='1.0'?><svg/>", "which is not read", id="svg"),
        pytest.param(b"\n<!DOCTYPE html><p>404", "HTML, which is not read", id="web-page"),
        pytest.param(b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull", id="lfs"),
        pytest.param(encoded(colours(), "JPEG")[:-200], "truncated", id="cut-jpeg"),
        pytest.param(png(30000, 30000, 1, 0, b""), "more than 178956970 pixels", id="bomb"),
    ],
)
def test_a_picture_that_cannot_be_decoded_as_it_was_meant_is_refused_with_a_reason(
    data: bytes, why: str
) -> None:
    with pytest.raises(Undecodable, match=why):
        decode_picture(data)


@pytest.mark.parametrize(
    "data",
    [
        with_text(workflow="x" * 3_000_000),
        with_text(**{f"node {number}": "x" * 900_000 for number in range(80)}),
        pytest.param(encoded(colours()), id="without"),
    ],
    ids=["one", "many", "none"],
)
def test_a_long_text_beside_a_picture_does_no_harm(data: bytes) -> None:
    assert decode_picture(data).image.tobytes() == colours().tobytes()


def test_an_orientation_in_a_text_chunk_still_counts() -> None:
    text = PngImagePlugin.PngInfo()
    text.add_text("workflow", "x" * 3_000_000, zip=True)
    history = '<rdf:Description tiff:Orientation="3"/>' + " " * 3_000_000
    text.add_itxt("XML:com.adobe.xmp", history, zip=True)

    decoded = decode_picture(encoded(colours(), pnginfo=text))

    assert decoded.image.tobytes() == colours().rotate(180).tobytes()


@pytest.mark.parametrize(
    ("data", "notes"),
    [
        *((animated(kind), ("ExtraFrames",)) for kind in ("GIF", "WEBP", "PNG", "TIFF", "MPO")),
        (with_profile("sRGB"), ()),
        (with_profile("exchanged"), ("ColourProfile",)),
        (encoded(colours(), "JPEG", icc_profile=b"no profile"), ("ColourProfile",)),
        (encoded(colours().convert("CMYK"), "JPEG"), ("ColourProfile",)),
        (encoded(colours(), "GIF"), ()),
        (encoded(colours(), "TIFF"), ()),
    ],
)
def test_a_picture_that_is_used_in_part_is_noted(data: bytes, notes: tuple[str, ...]) -> None:
    decoded = decode_picture(data)

    assert tuple(str(note) for note in decoded.notes) == notes
    pixel = decoded.image.getpixel((SIDE - 1, 0))
    assert isinstance(pixel, tuple)
    assert pixel[0] > 200, "the first frame, not the red one, is used"
    assert pixel[1] < 60


@pytest.mark.parametrize("mode", ["1", "L", "P", "LA", "CMYK", "YCbCr", "LAB", "RGBA", "PA"])
def test_every_mode_of_a_tiff_is_decoded_as_viewers_show_it(mode: str) -> None:
    picture = Image.new("RGB", (4, 4), "white")
    if mode == "LAB":
        profiles = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
        transform = ImageCms.buildTransform(*profiles, "RGB", "LAB")
        converted = ImageCms.applyTransform(picture, transform)
        assert converted is not None
    else:
        converted = picture.convert(mode)

    (low, _), *_ = decode_picture(encoded(converted, "TIFF")).image.getextrema()  # type: ignore[misc]

    assert low >= 254


@pytest.mark.parametrize(
    ("data", "shades"),
    [
        (png(4, 1, 2, 0, b"\0\x1b", trns=b"\0\3"), [0, 85, 170, 255]),
        (png(4, 1, 2, 0, b"\0\x1b", trns=b"\0\1"), [0, 255, 170, 255]),
        (png(2, 1, 4, 0, b"\0\x5f", trns=b"\0\5"), [255, 255]),
        (
            png(2, 1, 16, 0, b"\0" + struct.pack(">2H", 0x1234, 0xF000), trns=b"\x12\x34"),
            [255, 240],
        ),
        (png(2, 1, 16, 4, b"\0" + struct.pack(">4H", 0x8000, 0xFFFF, 0x4000, 0)), [128, 255]),
    ],
)
def test_transparent_grey_lies_on_white(data: bytes, shades: list[int]) -> None:
    assert np.asarray(decode_picture(data).image)[0, :, 0].tolist() == shades


def test_the_content_decides_the_format_and_not_the_name() -> None:
    decoded = decode_picture(encoded(colours(), "BMP"))

    assert decoded.image.tobytes() == colours().tobytes()
