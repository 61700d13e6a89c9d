"""What a tar may hold, as webdataset, img2dataset, GNU tar and macOS write them."""

import bz2
import gzip
import lzma
import subprocess
import tarfile
from pathlib import Path

import pytest
from tests.diffusion.folders import BLUE, RED, Content, link, put, tar

from stockpot.diffusion.records import list_records, read_folder, without
from stockpot.errors import ExitCode, Refused

Members = tuple[tuple[str, Content] | tarfile.TarInfo, ...]
ANT: Members = (("0.jpg", RED), ("0.txt", "an ant"))


def in_a_folder(tmp_path: Path, *members: tuple[str, Content] | tarfile.TarInfo) -> Path:
    return put(tmp_path / "data", {"x.tar": tar(*members)})


def captions(folder: Path) -> dict[str, str]:
    return {record.name: record.caption for record in list_records(folder)}


def omitted(folder: Path) -> dict[str, tuple[int, tuple[str, ...]]]:
    return {
        omission.reason: (omission.count, omission.examples)
        for omission in read_folder(folder).omissions
    }


def refusal(folder: Path) -> str:
    with pytest.raises(Refused) as caught:
        list_records(folder)
    assert caught.value.exit_code is ExitCode.BAD_DATA
    assert caught.value.help
    return caught.value.message


@pytest.mark.parametrize(
    "members",
    [
        pytest.param(ANT, id="jpg-txt"),
        pytest.param((*ANT, ("0.json", '{"caption": "ants", "width": 8}')), id="img2dataset"),
        pytest.param((("0.json", '{"key": "0"}'), *ANT[::-1]), id="img2dataset-in-another-order"),
        pytest.param((*ANT, ("0.json", '{"text": "an ant"}')), id="json-and-txt-that-agree"),
        pytest.param((*ANT, ("0.json", '{"text": null}')), id="json-without-a-caption"),
        pytest.param((*ANT, ("0.json", "[[1, 2]]")), id="json-of-something-else"),
        pytest.param((ANT[0], ("0.json", '{"text": "an ant"}')), id="json-alone"),
        pytest.param((ANT[0], ("0.caption", "\ufeffan ant\n")), id="caption-with-a-mark"),
        pytest.param((("./0.jpg", RED), ("./0.txt", "an ant")), id="of-tar-dot"),
        pytest.param((("/0.jpg", RED), ("/0.txt", "an ant")), id="absolute"),
        pytest.param((("../0.jpg", RED), ("../0.txt", "an ant")), id="upwards"),
    ],
)
def test_members_of_one_key_are_one_record(tmp_path: Path, members: Members) -> None:
    assert captions(in_a_folder(tmp_path, *members)) == {"x.tar/0.jpg": "an ant"}


@pytest.mark.parametrize("suffixes", [("JPG", "TXT"), ("jpeg", "txt"), ("webp", "caption")])
def test_a_key_ends_at_the_first_dot_of_the_last_part(
    tmp_path: Path, suffixes: tuple[str, str]
) -> None:
    picture, caption = suffixes
    folder = in_a_folder(tmp_path, (f"v1.0/a/0.{picture}", RED), (f"v1.0/a/0.{caption}", "an ant"))

    assert captions(folder) == {f"x.tar/v1.0/a/0.{picture}": "an ant"}


@pytest.mark.parametrize("format_", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_a_long_name_is_a_name(tmp_path: Path, format_: int) -> None:
    name = "d" * 200 + "/" + "n" * 250
    folder = put(
        tmp_path, {"x.tar": tar((f"{name}.jpg", RED), (f"{name}.txt", "x"), format=format_)}
    )

    assert captions(folder) == {f"x.tar/{name}.jpg": "x"}


@pytest.mark.parametrize("order", [1, -1])
def test_the_picture_is_the_one_without_a_middle_part(tmp_path: Path, order: int) -> None:
    members: Members = (*ANT, ("0.seg.png", BLUE), ("0.cls", "3"), ("0.npy", b"x"))[::order]
    folder = in_a_folder(tmp_path, *members)

    assert captions(folder) == {"x.tar/0.jpg": "an ant"}
    counts = omitted(folder)
    assert counts["ExtraMember"] == (1, ("x.tar/0.seg.png",))
    assert counts["OtherFile"][0] == 2


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ((*ANT, ("0.png", BLUE)), "x.tar/0.jpg and x.tar/0.png are two pictures under one key"),
        ((*ANT, ("0.JPG", BLUE)), "are two pictures under one key"),
        (
            (("0.seg.png", BLUE), ("0.txt", "x")),
            "0.seg.png is a picture of the key 0, which has no",
        ),
        (
            (("a.v1.jpg", RED), ("a.v1.txt", "x"), ("a.v2.jpg", BLUE), ("a.v2.txt", "y")),
            "x.tar/a.v1.jpg is a picture of the key a, which has no picture a.jpg",
        ),
        ((*ANT, ("0.json", '{"text": "a bee"}')), "0.json and x.tar/0.txt have different captions"),
        ((*ANT, ("0.json", '{"text": ["an ant"]}')), "x.tar/0.json: text is no string"),
        ((*ANT, ("0.json", "{")), "x.tar/0.json is not JSON"),
        ((ANT[0], ("0.json", '{"caption": "x"}')), "x.tar/0.jpg has no caption"),
        ((*ANT, ("1.jpg", BLUE)), "x.tar/1.jpg has no caption"),
        ((ANT[0], ("0.txt", "an ant".encode("utf-16"))), "x.tar/0.txt is not UTF-8: it is UTF-16"),
        ((ANT[0], ("0.txt", "a\0b")), "x.tar/0.txt: the caption holds a NUL"),
        ((*ANT, ("0.jpg", BLUE)), "x.tar has two members that are called 0.jpg"),
        ((*ANT, ("./0.txt", "a bee")), "x.tar has two members that are called 0.txt"),
        ((*ANT, link("1.jpg", "/etc/passwd"), ("1.txt", "x")), "a link to /etc/passwd, which is"),
        ((*ANT, link("1.jpg", "1.jpg"), ("1.txt", "x")), "1.jpg is a link to 1.jpg, which is not"),
        ((("caf\udce9.jpg", RED), ("caf\udce9.txt", "x")), r"caf\udce9.jpg has a name that is not"),
    ],
)
def test_missing_or_ambiguous_members_are_refused(
    tmp_path: Path, members: Members, words: str
) -> None:
    assert words in refusal(in_a_folder(tmp_path, *members))


def test_it_does_not_matter_which_caption_comes_first(tmp_path: Path) -> None:
    json: tuple[str, Content] = ("0.json", '{"text": "a bee"}')

    first = refusal(in_a_folder(tmp_path / "1", *ANT, json))
    second = refusal(in_a_folder(tmp_path / "2", json, *ANT))

    assert first == second


def test_unused_data_is_counted_and_named(tmp_path: Path) -> None:
    folder = in_a_folder(
        tmp_path,
        *ANT,
        *(("._0.jpg", b"x"), ("__MACOSX/._0.jpg", b"x"), ("PaxHeaders.7/0.jpg", b"x")),
        *((".DS_Store", b"x"), ("README", "x"), ("1.txt", "a bee"), ("2.svg", "x")),
    )
    put(folder, {"y.tar.gz": gzip.compress(tar(*ANT)), "b.png": BLUE})
    put(folder, {"x.parquet": "PAR1", "x_stats.json": "{}"})  # As img2dataset does.

    assert captions(folder) == {"x.tar/0.jpg": "an ant"}
    assert omitted(folder) == {
        "UnlistedPicture": (1, ("b.png",)),
        "UnreadFormat": (1, ("x.tar/2.svg",)),
        "UnreadArchive": (1, ("y.tar.gz",)),
        "HiddenFile": (
            3,
            ("x.tar/._0.jpg", "x.tar/__MACOSX/._0.jpg", "x.tar/PaxHeaders.7/0.jpg"),
        ),
        "CaptionWithoutPicture": (1, ("x.tar/1.txt",)),
        "OtherFile": (3, ("x.tar/README", "x_stats.json", "x.parquet")),
    }


def test_a_picture_of_another_format_with_a_caption_is_a_record_that_cannot_be_decoded(
    tmp_path: Path,
) -> None:
    folder = in_a_folder(tmp_path, *ANT, ("0.svg", "x"), ("1.heic", "x"), ("1.txt", "a bee"))

    assert captions(folder) == {"x.tar/0.jpg": "an ant", "x.tar/1.heic": "a bee"}
    assert omitted(folder) == {"UnreadFormat": (1, ("x.tar/0.svg",))}


@pytest.mark.parametrize(
    "member",
    [
        link("d/1.jpg", "../0.jpg"),
        link("d/1.jpg", "0.jpg", tarfile.LNKTYPE),
        link("d/1.jpg", "./0.jpg", tarfile.LNKTYPE),
    ],
    ids=["symbolic", "hard", "hard-of-tar-dot"],
)
def test_a_link_to_another_member_is_that_member(tmp_path: Path, member: tarfile.TarInfo) -> None:
    folder = in_a_folder(tmp_path, member, ("d/1.txt", "a bee"), *ANT)

    first, second = list_records(folder)

    assert first.picture == second.picture
    assert first.read() == second.read() == RED


def test_hard_links_that_tar_makes_are_read(tmp_path: Path) -> None:
    files = put(tmp_path / "files", {"0.jpg": RED, "0.txt": "an ant", "1.txt": "a bee"})
    (files / "1.jpg").hardlink_to(files / "0.jpg")
    data = put(tmp_path / "data", {})
    subprocess.run(["tar", "-C", files, "-cf", data / "x.tar", "."], check=True)

    assert captions(data) == {"x.tar/0.jpg": "an ant", "x.tar/1.jpg": "a bee"}


def test_a_member_with_holes_is_refused(tmp_path: Path) -> None:
    files = put(tmp_path / "files", {"0.txt": "an ant"})
    with (files / "0.jpg").open("wb") as file:
        file.seek(1 << 20)
        file.write(RED)
    data = put(tmp_path / "data", {})
    subprocess.run(["tar", "-S", "-C", files, "-cf", data / "x.tar", "0.jpg", "0.txt"], check=True)

    assert "x.tar/0.jpg is stored with holes" in refusal(data)


# Ends, and what comes after


BEE: Members = (("1.jpg", BLUE), ("1.txt", "a bee"))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (tar(*ANT) + tar(*BEE), "goes on after its end"),
        (tar(*ANT) + b"garbage", "goes on after its end"),
        (tar(*ANT) + bytes(1 << 21) + b"x", "goes on after its end"),
        (bytes(1024) + tar(*ANT), "goes on after its end"),
        (tar(*ANT)[:2300], "does not end as a tar does"),
        (b"", "cannot be read as a tar"),
        (b"PK\3\4" + bytes(600), "cannot be read as a tar"),
        (gzip.compress(tar(*ANT)), "is compressed with gzip"),
        (bz2.compress(tar(*ANT)), "is compressed with bzip2"),
        (lzma.compress(tar(*ANT)), "is compressed with xz"),
        (b"\x28\xb5\x2f\xfd" + bytes(600), "is compressed with zstd"),
    ],
)
def test_a_truncated_extended_or_compressed_tar_is_refused(
    tmp_path: Path, content: bytes, words: str
) -> None:
    assert f"x.tar {words}" in refusal(put(tmp_path / "data", {"x.tar": content}))


def test_zeros_after_the_end_are_padding(tmp_path: Path) -> None:
    folder = put(tmp_path / "data", {"X.TAR": tar(*ANT) + bytes(100_000)})

    assert captions(folder) == {"X.TAR/0.jpg": "an ant"}


@pytest.mark.parametrize("command", [["-A", "-f"], ["-r", "-f"]], ids=["concatenate", "append"])
def test_tars_that_tar_itself_joined_are_read_whole(tmp_path: Path, command: list[str]) -> None:
    folder = put(tmp_path / "data", {"x.tar": tar(*ANT)})
    files = put(tmp_path / "files", {"1.jpg": BLUE, "1.txt": "a bee", "y.tar": tar(*BEE)})
    added = ["y.tar"] if "-A" in command else ["1.jpg", "1.txt"]
    subprocess.run(["tar", *command, folder / "x.tar", *added], cwd=files, check=True)

    assert captions(folder) == {"x.tar/0.jpg": "an ant", "x.tar/1.jpg": "a bee"}


def test_a_key_may_be_in_two_tars_and_splits_may_not(tmp_path: Path) -> None:
    shards = put(tmp_path / "shards", {"0.tar": tar(*ANT), "1.tar": tar(("0.jpg", BLUE), ANT[1])})
    splits = put(tmp_path / "splits", {"pets-train-0.tar": tar(*ANT), "pets-val-0.tar": tar(*BEE)})

    assert captions(shards) == {"0.tar/0.jpg": "an ant", "1.tar/0.jpg": "an ant"}
    assert "pets-train-0.tar/0.jpg and pets-val-0.tar/1.jpg" in refusal(splits)


def test_a_record_is_named_with_or_without_what_tar_writes_before_it(tmp_path: Path) -> None:
    records = list_records(in_a_folder(tmp_path, ("./0.jpg", RED), ("./0.txt", "x"), *BEE))

    for name in ("x.tar/0.jpg", "x.tar/./0.jpg"):
        assert [record.name for record in without(records, [name])] == ["x.tar/1.jpg"]
