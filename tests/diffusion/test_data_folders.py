"""What a folder of pictures may hold: read as it was meant, counted, or refused by name.

Invariant 14.
"""

import errno
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.diffusion.folders import BLUE, RED, Content, lines, put, tar

from stockpot.diffusion.records import list_records, read_folder, without
from stockpot.errors import ExitCode, Refused, Transient

Files = dict[str, Content]
A_LINE = lines({"file_name": "a.png", "text": "an ant"})
ANT: Files = {"a.png": RED, "metadata.jsonl": A_LINE}
BESIDE: Files = {"a.png": RED, "a.txt": "an ant"}


def captions(folder: Path) -> dict[str, str]:
    return {record.name: record.caption for record in list_records(folder)}


def omitted(folder: Path) -> dict[str, tuple[int, tuple[str, ...]]]:
    return {
        omission.reason: (omission.count, omission.examples)
        for omission in read_folder(folder).omissions
    }


def refusal(folder: Path) -> Refused:
    with pytest.raises(Refused) as caught:
        list_records(folder)
    assert caught.value.exit_code is ExitCode.BAD_DATA
    assert caught.value.help
    return caught.value


@pytest.mark.parametrize(
    "files",
    [
        pytest.param(ANT, id="jsonl"),
        pytest.param({"a.png": RED, "metadata.csv": "file_name,text\na.png,an ant\n"}, id="csv"),
        pytest.param(
            {"a.png": RED, "metadata.csv": '\ufefftext,file_name\r\n"an ant",a.png\r\n\r\n'},
            id="csv-of-a-spreadsheet",
        ),
        pytest.param(
            {"a.png": RED, "metadata.csv": ",file_name,text\n0,a.png,an ant\n"}, id="csv-of-pandas"
        ),
        pytest.param(
            {"a.png": RED, "metadata.jsonl": lines({"image_file_name": "a.png", "text": "an ant"})},
            id="column-of-another-name",
        ),
        pytest.param(
            {"a.png": RED, "metadata.jsonl": lines({"file_name": "./a.png", "text": "an ant"})},
            id="path-with-a-dot",
        ),
        pytest.param(
            {"a.png": RED, "b/metadata.jsonl": lines({"file_name": "../a.png", "text": "an ant"})},
            id="path-upwards",
        ),
        pytest.param(BESIDE, id="txt"),
        pytest.param({"a.png": RED, "a.caption": "\ufeffan ant\r\n"}, id="caption-with-a-mark"),
        pytest.param({"a.png": RED, "a.json": '{"text": "an ant", "width": 8}'}, id="json"),
        pytest.param({**BESIDE, "a.json": '{"caption": "ants"}'}, id="img2dataset-files"),
        pytest.param({**BESIDE, "a.json": '[{"box": [1, 2]}]'}, id="json-of-something-else"),
        pytest.param({**ANT, "a.txt": "an ant\n"}, id="line-and-txt-that-agree"),
    ],
)
def test_every_form_gives_the_picture_its_caption(tmp_path: Path, files: Files) -> None:
    assert captions(put(tmp_path / "data", files)) == {"a.png": "an ant"}


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"a.png": RED, "metadata.csv": "file_name;text\na.png;ant\n"}, "there is no file_name"),
        ({"a.png": RED, "metadata.csv": "file_name,text\na.png,ant, red\n"}, "line 2 has 3 values"),
        ({"a.png": RED, "metadata.csv": 'file_name,text\na.png,"ant\n'}, "is not CSV"),
        ({"a.png": RED, "metadata.csv": "file_name,text,text\na.png,a,b\n"}, "two columns"),
        ({"a.png": RED, "metadata.csv": "file_name,caption\na.png,ant\n"}, "there is no caption"),
        ({"a.png": RED, "metadata.csv": "file_name,text\na.png,é".encode("latin-1")}, "not UTF-8"),
        ({"a.png": RED, "metadata.csv": "file_name,text".encode("utf-16")}, "it is UTF-16"),
        ({"a.png": RED, "metadata.jsonl": A_LINE.encode("utf-16")}, "it is UTF-16"),
        ({"a.png": RED, "metadata.parquet": "PAR1"}, "metadata.parquet is not read"),
        ({**ANT, "metadata.csv": "file_name,text\n"}, "both metadata.csv and metadata.jsonl"),
        (
            {"a.png": RED, "metadata.jsonl": '{"file_name": "a.png", "text": "x", "text": "y"}'},
            "text is there twice",
        ),
        (
            {"metadata.jsonl": lines({"image_file_name": "a.png", "mask_file_name": "b.png"})},
            "no file_name, but image_file_name and mask_file_name",
        ),
        ({**ANT, "a.txt": "a bee"}, "metadata.jsonl, line 1 and a.txt have different captions"),
        ({**BESIDE, "a.caption": "a bee"}, "a.caption and a.txt have different captions"),
        ({**BESIDE, "a.json": '{"text": "a bee"}'}, "a.json and a.txt have different captions"),
        ({**BESIDE, "a.json": '{"text": ["an ant"]}'}, "a.json: text is no string"),
        ({**BESIDE, "a.json": "{"}, "a.json is not JSON"),
        ({**BESIDE, "a.jpg": BLUE}, "a.jpg and a.png are two pictures with one caption"),
        ({**BESIDE, "b.png": BLUE, "c.png": BLUE}, "b.png has no caption, and 2 pictures have"),
        ({"a.png": RED, "a.txt": " \n"}, "a.txt: there is no caption"),
        ({"a.png": RED, "a.txt": "an ant".encode("utf-16")}, "a.txt is not UTF-8: it is UTF-16"),
        ({"a.png": RED, "a.txt": "an ant".encode("utf-16-le")}, "a.txt: the caption holds a NUL"),
        ({"cat/a.png": RED, "dog/b.png": BLUE}, "has pictures, as cat/a.png, and no metadata"),
        ({**BESIDE, "x.tar": tar(("0.jpg", RED), ("0.txt", "x"))}, "both x.tar and captions"),
        *(
            ({name: "x"}, name)
            for name in (
                *("s.tar.gz", "s.tgz", "data.zip", "data.7z", "train.parquet", "train.arrow"),
                *("a.txt", "a.heic", "film.mp4", "notes.docx", ".hidden/a.png"),
            )
        ),
    ],
)
def test_unreadable_data_is_refused_by_name(tmp_path: Path, files: Files, words: str) -> None:
    assert words in refusal(put(tmp_path / "data", files)).message


def test_folders_of_classes_are_no_captions(tmp_path: Path) -> None:
    folder = put(tmp_path / "data", {"cat/a.png": RED, "dog/b.png": BLUE})

    assert "The names of folders (cat, dog) are no captions." in refusal(folder).help


@pytest.mark.parametrize(
    ("files", "counts"),
    [
        pytest.param(ANT, {}, id="nothing"),
        pytest.param({**ANT, "b.png": BLUE}, {"UnlistedPicture": (1, ("b.png",))}, id="unlisted"),
        pytest.param(
            {
                "m.png": BLUE,
                "a.png": RED,
                "metadata.jsonl": lines(
                    {"file_name": "a.png", "mask_file_name": "m.png", "text": "an ant"}
                ),
            },
            {"UnlistedPicture": (1, ("m.png",))},
            id="mask-in-a-column",
        ),
        pytest.param(
            {**ANT, **{f"{name}.heic": b"x" for name in "bcdef"}},
            {"UnreadFormat": (5, ("b.heic", "c.heic", "d.heic"))},
            id="five-of-another-format",
        ),
        pytest.param(
            {**ANT, "old.zip": "x", "t.parquet": "x"},
            {"UnreadArchive": (2, ("old.zip", "t.parquet"))},
            id="archives",
        ),
        pytest.param(
            {**ANT, "README.md": "x", "Thumbs.db": "x", "LICENSE.txt": "x"},
            {"OtherFile": (3, ("README.md", "Thumbs.db", "LICENSE.txt"))},
            id="no-data",
        ),
        pytest.param(
            {
                **BESIDE,
                ".ipynb_checkpoints/a-checkpoint.png": RED,
                "__MACOSX/._a.png": "x",
                "@eaDir/a.png/THUMB.jpg": RED,
                "lost+found/b.png": BLUE,
                "._a.png": "x",
                ".DS_Store": "x",
                ".git/objects/12": "x",
            },
            {
                "HiddenFile": (
                    5,
                    (
                        "._a.png",
                        ".ipynb_checkpoints/a-checkpoint.png",
                        "@eaDir/a.png/THUMB.jpg",
                    ),
                )
            },
            id="hidden",
        ),
        pytest.param(
            {**BESIDE, "b.txt": "a bee", "meta.json": "{}"},
            {"CaptionWithoutPicture": (1, ("b.txt",)), "OtherFile": (1, ("meta.json",))},
            id="caption-alone",
        ),
    ],
)
def test_unused_data_is_counted_and_named(
    tmp_path: Path, files: Files, counts: dict[str, tuple[int, tuple[str, ...]]]
) -> None:
    folder = put(tmp_path / "data", files)

    assert omitted(folder) == counts
    assert captions(folder) == {"a.png": "an ant"}


def test_a_picture_of_another_format_with_a_caption_is_a_record_that_cannot_be_decoded(
    tmp_path: Path,
) -> None:
    folder = put(tmp_path / "data", {**BESIDE, "b.heic": "x", "b.txt": "a bee"})

    assert captions(folder) == {"a.png": "an ant", "b.heic": "a bee"}


def test_two_lines_of_one_picture_are_two_records_that_leave_together(tmp_path: Path) -> None:
    both = A_LINE + lines({"file_name": "a.png", "text": "an insect"})
    rest: Files = {"b.png": BLUE, "b/metadata.jsonl": lines({"file_name": "../b.png", "text": "b"})}
    records = list_records(put(tmp_path, {**rest, "a.png": RED, "metadata.jsonl": both}))

    assert sorted(record.caption for record in records) == ["an ant", "an insect", "b"]
    assert [record.caption for record in without(records, ["a.png"])] == ["b"]


# Splits


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("train/", "test/"),
        ("train/", "validation/"),
        ("", "val/"),
        ("images/Train/", "images/Test/"),
        ("train2017/", "val2017/"),
        ("training-set/", "eval_set/"),
        ("train_", "test_"),
    ],
)
def test_splits_are_not_learnt_together(tmp_path: Path, first: str, second: str) -> None:
    files: Files = {
        f"{first}a.png": RED,
        f"{first}a.txt": "an ant",
        f"{second}b.png": BLUE,
        f"{second}b.txt": "a bee",
    }

    error = refusal(put(tmp_path / "data", files))

    assert "which loaders keep apart as splits" in error.message
    assert f"{first}a.png" in error.message
    assert f"{second}b.png" in error.message


@pytest.mark.parametrize(
    ("first", "second"),
    [("train/", "more/"), ("test tube ", ""), ("test/a/", "test/b/"), ("contest/", "latest/")],
)
def test_names_that_are_no_splits_are_read(tmp_path: Path, first: str, second: str) -> None:
    files: Files = {
        f"{first}a.png": RED,
        f"{first}a.txt": "an ant",
        f"{second}b.png": BLUE,
        f"{second}b.txt": "a bee",
    }

    assert len(list_records(put(tmp_path / "data", files))) == 2


# Names, links, and what is no file


def test_a_name_that_no_disk_can_have_is_no_picture(tmp_path: Path) -> None:
    for name in ("a" * 300 + ".png", "a/" * 3000 + "b.png", "a.png/b.png", "https://x.org/a.png"):
        files = {**ANT, "metadata.jsonl": lines({"file_name": name, "text": "x"})}

        error = refusal(put(tmp_path / "data", files))

        assert error.message.startswith("metadata.jsonl, line 1: there is no picture ")
        assert len(error.message) < 200


@pytest.mark.parametrize("name", ["metadata.jsonl", "metadata.csv", "metadata.parquet", "x.tar"])
@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo], ids=["folder", "pipe"])
def test_a_folder_or_pipe_with_the_name_of_data_is_refused(
    tmp_path: Path, name: str, make: Callable[[Path], None]
) -> None:
    folder = put(tmp_path / "data", BESIDE)
    make(folder / name)

    assert name in refusal(folder).message


@pytest.mark.parametrize("name", ["b.png", "b.txt"])
def test_a_folder_with_the_name_of_a_picture_or_caption_is_a_folder(
    tmp_path: Path, name: str
) -> None:
    folder = put(tmp_path / "data", BESIDE)
    put(folder / name, {"c.png": BLUE, "c.txt": "a cat"})

    assert captions(folder) == {"a.png": "an ant", f"{name}/c.png": "a cat"}


def test_a_line_that_names_a_folder_or_a_pipe_is_refused(tmp_path: Path) -> None:
    folder = put(tmp_path / "data", {**ANT, "b.png/c.png": BLUE})
    (folder / "metadata.jsonl").write_text(lines({"file_name": "b.png", "text": "b"}))
    assert "line 1: b.png is a folder" in refusal(folder).message

    os.mkfifo(folder / "d.png")
    (folder / "metadata.jsonl").write_text(lines({"file_name": "d.png", "text": "d"}))
    assert "line 1: there is no picture d.png" in refusal(folder).message


@pytest.mark.parametrize(
    ("name", "target", "files", "counts"),
    [
        ("b.png", "gone.png", ANT, {"Link": (1, ("b.png",))}),
        ("b.png", "b.png", ANT, {"Link": (1, ("b.png",))}),
        ("loop", ".", ANT, {"Link": (1, ("loop",))}),
        ("b.png", "a.png", ANT, {"UnlistedPicture": (1, ("b.png",))}),
        ("README", "/etc/hostname", ANT, {"OtherFile": (1, ("README",))}),
        (
            "a.png",
            ".store/a.png",
            {".store/a.png": RED, "metadata.jsonl": A_LINE},
            {},
        ),
    ],
)
def test_links_are_followed_to_files_inside_and_counted_else(
    tmp_path: Path,
    name: str,
    target: str,
    files: Files,
    counts: dict[str, tuple[int, tuple[str, ...]]],
) -> None:
    folder = put(tmp_path / "data", files)
    (folder / name).symlink_to(target)

    assert omitted(folder) == counts
    assert captions(folder) == {"a.png": "an ant"}


@pytest.mark.parametrize(
    ("name", "target", "files"),
    [
        ("b.png", "../secret/a.png", ANT),
        ("more", "../secret", ANT),
        ("metadata.jsonl", "../secret/metadata.jsonl", {"a.png": RED}),
        ("a.txt", "../secret/a.txt", {"a.png": RED}),
        ("x.tar", "../secret/x.tar", {}),
        ("a.png", "../secret/gone.png", {"metadata.jsonl": A_LINE}),
    ],
)
def test_a_link_out_of_the_folder_is_refused(
    tmp_path: Path, name: str, target: str, files: Files
) -> None:
    put(tmp_path / "secret", {**ANT, "a.txt": "x", "x.tar": tar(("0.jpg", RED), ("0.txt", "x"))})
    folder = put(tmp_path / "data", files)
    (folder / name).symlink_to(target)

    assert f"{name} is outside of the data folder" in refusal(folder).message


def test_a_name_with_a_line_break_is_read_and_shown_without(tmp_path: Path) -> None:
    folder = put(tmp_path / "data", {"a\nb.png": RED, "a\nb.txt": "an ant"})
    assert captions(folder) == {"a\nb.png": "an ant"}

    (folder / "a\nb.txt").write_text("")
    assert refusal(folder).message == r"a\nb.txt: there is no caption."


def test_a_name_that_is_no_utf8_is_refused_where_it_is_data(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9")
    unlisted = put(tmp_path / "unlisted", {**ANT, f"{name}.png": BLUE})
    data = put(tmp_path / "data", {f"{name}.png": RED, f"{name}.txt": "x"})

    assert omitted(unlisted) == {"UnlistedPicture": (1, (r"caf\udce9.png",))}
    assert refusal(data).message == r"caf\udce9.png has a name that is not UTF-8."


@contextmanager
def unprivileged() -> Iterator[Path]:
    """A folder that every user may enter, used as a user without root's permissions."""
    folder, user = Path(tempfile.mkdtemp()), os.geteuid()
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        os.seteuid(user)
        for path in folder.rglob("*"):
            path.chmod(0o755)
        shutil.rmtree(folder)


def become_nobody() -> None:
    if os.geteuid() == 0:
        os.seteuid(65534)


@pytest.mark.parametrize("name", ["more", "a.png", "metadata.jsonl"])
def test_an_unreadable_file_is_named_and_transient(name: str) -> None:
    with unprivileged() as folder:
        put(folder, {**ANT, "more/b.png": BLUE})
        (folder / name).chmod(0)
        become_nobody()

        with pytest.raises(Transient, match=f"{name} cannot be read") as caught:
            list_records(folder)

    assert caught.value.exit_code is ExitCode.STORAGE
    assert isinstance(caught.value.__cause__, OSError)
    assert caught.value.__cause__.errno == errno.EACCES


def test_lost_and_found_need_not_be_readable() -> None:
    with unprivileged() as folder:
        put(folder, {**ANT, "lost+found/b.png": BLUE})
        (folder / "lost+found").chmod(0)
        become_nobody()

        assert captions(folder) == {"a.png": "an ant"}


# Leaving records out


@pytest.mark.parametrize("by", ["name", "digest"])
def test_copies_of_a_record_leave_with_it(tmp_path: Path, by: str) -> None:
    names = ("a.png", "copy.png", "other.png")
    folder = put(
        tmp_path,
        {
            "a.png": RED,
            "copy.png": RED,
            "other.png": BLUE,
            "metadata.jsonl": lines(*({"file_name": name, "text": "x"} for name in names)),
        },
    )
    records = list_records(folder)
    (named,) = (record for record in records if record.name == "a.png")

    left = without(records, [getattr(named, by)])

    assert [record.name for record in left] == ["other.png"]
    assert without(records, ["./a.png"]) == left
