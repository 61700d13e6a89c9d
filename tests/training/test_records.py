"""Data folders: the forms that are read, and the messages about any other."""

import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image
from tests.tiny import some_data

from stockpot.core.digests import digest_of_records
from stockpot.diffusion.records import CorruptPicture, list_records
from stockpot.errors import ExitCode, Refused


def metadata(folder: Path) -> Path:
    return folder / "metadata.jsonl"


def a_tar(folder: Path, path: Path, *, json_captions: bool = False, reverse: bool = False) -> Path:
    """Write an imagefolder's records as a WebDataset shard."""
    lines = [json.loads(line) for line in metadata(folder).read_text().splitlines()]
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for number, line in enumerate(reversed(lines) if reverse else lines):
            caption = json.dumps({"text": line["text"]}) if json_captions else line["text"]
            add(tar, f"{number:03d}.png", (folder / line["file_name"]).read_bytes())
            add(tar, f"{number:03d}.{'json' if json_captions else 'txt'}", caption.encode())
    return path


def add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    tar.addfile(member, io.BytesIO(content))


def data_digest(folder: Path) -> str:
    return digest_of_records(record.digest for record in list_records(folder))


def test_order_names_and_container_do_not_change_the_data_digest(tmp_path: Path) -> None:
    folder = some_data(tmp_path / "folder")
    digest = data_digest(folder)
    captions = {record.caption for record in list_records(folder)}

    turned = some_data(tmp_path / "turned")
    lines = metadata(turned).read_text().splitlines()
    metadata(turned).write_text("\n".join(reversed(lines)))
    a_tar(folder, tmp_path / "tar/a.tar")
    a_tar(folder, tmp_path / "json/a.tar", json_captions=True, reverse=True)

    assert data_digest(turned) == digest
    assert data_digest(tmp_path / "tar") == digest
    assert data_digest(tmp_path / "json") == digest
    assert {record.caption for record in list_records(tmp_path / "tar")} == captions


def test_another_picture_or_caption_is_other_data(tmp_path: Path) -> None:
    digest = data_digest(some_data(tmp_path / "one"))

    caption = some_data(tmp_path / "caption")
    metadata(caption).write_text(metadata(caption).read_text().replace("a ", "big ", 1))
    picture = some_data(tmp_path / "picture")
    (picture / "0000.png").write_bytes((picture / "0000.png").read_bytes() + b"\0")
    fewer = some_data(tmp_path / "fewer", n=11)

    assert len({digest, *map(data_digest, (caption, picture, fewer))}) == 4


def test_a_picture_in_a_tar_is_decoded_where_it_lies(tmp_path: Path) -> None:
    folder = some_data(tmp_path / "folder")
    a_tar(folder, tmp_path / "tar/a.tar")

    here = [record.decode().tobytes() for record in list_records(folder)]
    there = [record.decode().tobytes() for record in list_records(tmp_path / "tar")]

    assert here == there
    assert sorted(path.name for path in (tmp_path / "tar").iterdir()) == ["a.tar"]


def test_metadata_may_lie_in_folders_beside_their_pictures(tmp_path: Path) -> None:
    some_data(tmp_path / "data/train", n=3)
    some_data(tmp_path / "data/more", n=2, seed=1)

    assert len(list_records(tmp_path / "data")) == 5


def test_a_caption_may_hold_any_letter_and_a_file_begin_with_a_mark(tmp_path: Path) -> None:
    folder = some_data(tmp_path, n=1)
    caption = "a red\u2028circle \U0001f534"
    line = json.dumps({"file_name": "0000.png", "text": caption}, ensure_ascii=False)
    metadata(folder).write_text("\ufeff" + line + "\r\n", encoding="utf-8")

    assert [record.caption for record in list_records(folder)] == [caption]


def test_transparent_pixels_lie_on_white(tmp_path: Path) -> None:
    folder = some_data(tmp_path, n=1)
    Image.new("RGBA", (4, 4), (255, 0, 0, 0)).save(folder / "0000.png")

    (record,) = list_records(folder)

    assert record.decode().getpixel((0, 0)) == (255, 255, 255)


def test_a_picture_that_changes_under_our_hands_is_refused(tmp_path: Path) -> None:
    record = list_records(some_data(tmp_path))[0]
    content = bytearray(record.file.read_bytes())
    content[-1] ^= 1
    record.file.write_bytes(content)

    with pytest.raises(Refused, match="has changed") as caught:
        record.read()

    assert caught.value.exit_code == ExitCode.WRONG_DIGEST


@pytest.mark.parametrize("content", [b"", b"no picture", b"<svg xmlns='x'/>"])
def test_a_picture_that_cannot_be_decoded_is_named(tmp_path: Path, content: bytes) -> None:
    folder = some_data(tmp_path, n=1)
    (folder / "0000.png").write_bytes(content)

    with pytest.raises(CorruptPicture, match=r"0000\.png"):
        list_records(folder)[0].decode()


def test_a_picture_that_is_cut_short_is_named(tmp_path: Path) -> None:
    folder = some_data(tmp_path, n=1, size=64)
    whole = (folder / "0000.png").read_bytes()
    (folder / "0000.png").write_bytes(whole[: len(whole) // 2])

    with pytest.raises(CorruptPicture, match=r"0000\.png"):
        list_records(folder)[0].decode()


def nothing(folder: Path) -> None:
    for file in folder.iterdir():
        file.unlink()


def no_folder(folder: Path) -> None:
    nothing(folder)
    folder.rmdir()


def no_metadata(folder: Path) -> None:
    metadata(folder).unlink()


def empty_metadata(folder: Path) -> None:
    metadata(folder).write_text("\n")


def third_line(text: bytes) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        lines = metadata(folder).read_bytes().splitlines()
        metadata(folder).write_bytes(b"\n".join([*lines[:2], text, *lines[3:]]))

    return damage


def link_outside(folder: Path) -> None:
    secret = some_data(folder.parent / "other shard") / "0001.png"
    (folder / "0002.png").unlink()
    (folder / "0002.png").symlink_to(secret)


def both(folder: Path) -> None:
    a_tar(folder, folder / "a.tar")


def cut_tar(offset_bytes: int) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        tar = a_tar(folder, folder / "a.tar")
        for file in folder.iterdir():
            if file != tar:
                file.unlink()
        with tarfile.open(tar) as whole:
            second = whole.getmembers()[2]
        tar.write_bytes(tar.read_bytes()[: second.offset + offset_bytes])

    return damage


def tar_without_caption(folder: Path) -> None:
    nothing(folder)
    with tarfile.open(folder / "a.tar", "w") as tar:
        add(tar, "deep/000.png", b"picture")
        add(tar, "001.txt", b"of no picture")


def empty_tar(folder: Path) -> None:
    nothing(folder)
    tarfile.open(folder / "a.tar", "w").close()


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (no_folder, "There is no data folder data."),
        (nothing, "The data is empty."),
        (no_metadata, "has pictures, as 0000.png, and no metadata.jsonl"),
        (empty_metadata, "no records: metadata.jsonl names none"),
        (third_line(b"{"), "metadata.jsonl, line 3 is not JSON"),
        (third_line(b"[1]"), "metadata.jsonl, line 3 is not a JSON object"),
        (third_line(b'{"text": "a"}'), "metadata.jsonl, line 3: there is no file_name"),
        (third_line(b'{"file_name": "0002.png"}'), "metadata.jsonl, line 3: there is no caption"),
        (
            third_line(b'{"file_name": "0002.png", "text": " "}'),
            "metadata.jsonl, line 3: there is no caption",
        ),
        (
            third_line(b'{"file_name": "gone.png", "text": "a"}'),
            "metadata.jsonl, line 3: there is no picture gone.png",
        ),
        (
            third_line(b'{"file_name": "../else.png", "text": "a"}'),
            "metadata.jsonl, line 3: else.png is outside of the data folder",
        ),
        (
            third_line(rb'{"file_name": "0002.png", "text": "\ud800"}'),
            "metadata.jsonl, line 3: the caption holds half a character",
        ),
        (
            third_line(rb'{"file_name": "00\u0000.png", "text": "a"}'),
            "metadata.jsonl, line 3: there is no file_name",
        ),
        (third_line(b"[" * 100_000), "metadata.jsonl, line 3 is not JSON"),
        (third_line(b'{"text": "\xff"}'), "metadata.jsonl is not UTF-8"),
        (link_outside, "metadata.jsonl, line 3: 0002.png is outside of the data folder"),
        (both, "The data has both metadata.jsonl and a.tar"),
        # Between two members, in the head of one, in its content.
        (cut_tar(0), "a.tar does not end as a tar does"),
        (cut_tar(100), "a.tar does not end as a tar does"),
        (cut_tar(520), "a.tar cannot be read as a tar"),
        (tar_without_caption, "a.tar/deep/000.png has no caption"),
        (empty_tar, "no records: a.tar names none"),
    ],
)
def test_bad_data_is_refused_with_what_is_wrong_and_where(
    tmp_path: Path, damage: Callable[[Path], None], words: str
) -> None:
    folder = some_data(tmp_path / "data", n=4)
    damage(folder)

    with pytest.raises(Refused) as caught:
        list_records(folder)

    assert words in caught.value.message
    assert caught.value.help
    assert caught.value.exit_code == ExitCode.BAD_DATA
