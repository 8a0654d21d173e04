"""Named sets of tokenizers: by words, from files, and what is said where a set is none or its weights are not here."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tokbench.errors import TokbenchError
from tokbench.tokenizers import sets, zoo
from tokbench.tokenizers.listed import Listed, listed
from tokbench.tokenizers.sets import LONGEST_FILE, check_sizes, counts, expand, members, words_of

Cli = Callable[..., tuple[int, str, str]]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder and an empty cache."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TOKBENCH_CACHE", str(tmp_path / "cache"))
    return tmp_path


def named(words: set[str]) -> list[str]:
    return [row.name for row in listed() if row.weights != "to be given" and words <= words_of(row)]


def test_words_follow_from_what_a_tokenizer_is() -> None:
    for name, words in {
        "titok/l-32": {"all", "discrete", "sequence", "titok", "256px", "quoted"},
        "var/ch160-512": {"all", "discrete", "scales", "f16", "var", "512px"},
        "vae/tiny": {"all", "continuous", "f4", "vae", "64px", "local"},
        "flowmo/tiny": {"all", "discrete", "sequence", "flowmo", "64px", "local"},
    }.items():
        assert words_of(Listed(*zoo.resolve(name))) == words


def test_all_words_must_hold_in_any_order() -> None:
    assert members("@discrete-f16") == members("@f16-discrete") == named({"discrete", "f16"})
    assert "ibq/imagenet-1024" in members("@discrete-f16")
    assert members("@titok-continuous") == [name for name in members("@titok") if name.endswith("vae")]
    assert members("@local") == [name for name in zoo.ready()]
    assert set(members("@all")) < set(zoo.names())
    assert not {"diffusers/kl", "dalle/dvae"} & set(members("@all"))  # they need files that a name does not say


def test_counts_are_those_of_the_members() -> None:
    assert all(len(members(f"@{word}")) == number for word, number in [*counts().items()][::5])
    assert {"discrete", "continuous", "f8", "f16", "titok", "256px"} <= counts().keys()


def test_a_set_stands_where_a_name_stands() -> None:
    assert expand(["vqgan/tiny", "anchor/webp-320", "my:Class"]) == ["vqgan/tiny", "anchor/webp-320", "my:Class"]
    assert expand(["vqgan", "vqgan"]) == ["vqgan", "vqgan"]  # as it was without sets
    inside = expand(["vqgan", "@local", "pixel/rgb"])  # of which two are named besides
    assert inside == ["vqgan", *(name for name in members("@local") if name not in ("vqgan/tiny", "pixel/rgb")), "pixel/rgb"]
    assert expand(["@f4-local", "@local"]) == [
        *members("@f4-local"),
        *(name for name in members("@local") if name not in members("@f4-local")),
    ]


def test_a_file_holds_names_and_sets(folder: Path) -> None:
    (folder / "mine.txt").write_bytes(
        "\ufeff# what we compare\r\n\r\nvqgan/tiny  # ours\r\nmy.module:Class\r\n@titok-continuous\r\nvqgan/tiny".encode()
    )
    assert members("@mine.txt") == ["vqgan/tiny", "my.module:Class", *members("@titok-continuous"), "vqgan/tiny"]
    assert expand(["@mine.txt"]) == ["vqgan/tiny", "my.module:Class", *members("@titok-continuous")]
    (folder / "below").mkdir()
    (folder / "below" / "list").write_text("pixel/rgb\n")
    assert members("@below/list") == members(f"@{folder}/below/list") == ["pixel/rgb"]
    (folder / "titok").write_text("pixel/rgb\n")
    assert members("@titok") == named({"titok"})  # words come before files


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("@discret-f16", "unknown word in @discret-f16: 'discret'; did you mean discrete"),
        ("@", "unknown word in @: ''; there are "),
        ("@Discrete", "unknown word in @Discrete: 'Discrete'; did you mean discrete"),
        ("@discrete-continuous", "no tokenizer is all that @discrete-continuous says; leave out a word, or see: tokbench list --sets"),
        ("@mine.txt", "@mine.txt cannot be read (No such file or directory); write a text file with one tokenizer a line"),
        ("@a/b", "@a/b cannot be read (No such file or directory)"),
        ("@x\0y", "unknown word in @x"),
        ("@" + "x" * 5000, "unknown word in @x"),
    ],
)
def test_a_set_that_is_none(name: str, message: str) -> None:
    with pytest.raises(TokbenchError) as error:
        members(name)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "@mine.txt names no tokenizer; write one name a line"),
        (b"# nothing\n\n", "@mine.txt names no tokenizer"),
        (b"\xff\xfe\x00", "@mine.txt cannot be read (it is not UTF-8)"),
        (b"pixel/rgb\n@mine.txt\n", "@mine.txt, line 2: a file of tokenizers names no other file, got '@mine.txt'; copy its lines"),
        (b"@mine", "unknown word in @mine: 'mine'"),
        (b"x" * (LONGEST_FILE + 1), "it has more than 1 MiB"),
    ],
)
def test_a_file_that_holds_no_names(folder: Path, content: bytes, message: str) -> None:
    (folder / "mine.txt").write_bytes(content)
    (folder / "mine").write_bytes(b"@mine")
    with pytest.raises(TokbenchError) as error:
        members("@mine.txt")
    assert message in str(error.value)


def test_a_pipe_is_not_waited_for(folder: Path) -> None:
    os.mkfifo(folder / "mine.txt")
    with pytest.raises(TokbenchError, match="it is a pipe or a device, not a file"):
        members("@mine.txt")


def test_weights_that_are_not_here_are_named_before_anything_is_loaded(folder: Path, tokbench_cli: Cli) -> None:
    count = len(members("@titok"))
    with pytest.raises(TokbenchError) as error:
        expand(["@titok"], needs_weights=True)
    assert str(error.value) == (
        f"{count} of the {count} tokenizers of @titok have no weights here: titok/l-32, titok/b-64, titok/s-128, titok/bl-64-vq, "
        "titok/bl-128-vq, ...; run: tokbench weights get @titok"
    )
    with pytest.raises(TokbenchError, match=r"of @vqgan have no weights here: .*, or take those that have: @vqgan-local$"):
        expand(["@vqgan"], needs_weights=True)
    (folder / "mine.txt").write_text("vqgan\nvar\n")
    with pytest.raises(TokbenchError, match=r"^1 of the 2 tokenizers of @mine.txt have no weights here: var/ch160; run: .* get @mine.txt$"):
        expand(["@mine.txt"], needs_weights=True)
    for command in (["run"], ["speed"], ["export", "--out", "out"]):
        status, out, err = tokbench_cli(*command, "-t", "@vqgan")
        assert (status, out, err.count("\n")) == (2, "", 1)
        assert "have no weights here" in err
    assert not (folder / "out").exists()


def test_sizes_that_one_does_not_take_are_said_before_it_is_loaded(tokbench_cli: Cli) -> None:
    check_sizes(["vqgan", "my:Class", "anchor/webp-320", "pixel/rgb"], 64)
    with pytest.raises(TokbenchError, match=r"^flowmo/tiny: .*64x64.*; take another --size, or a set without it$"):
        check_sizes(["vqgan", "flowmo"], 128)
    status, _, err = tokbench_cli("run", "-t", "@local", "--size", 66)
    assert (status, err.count("\n")) == (2, 1)
    assert "take another --size, or a set without it" in err


def test_a_run_measures_a_set_in_one_command(tokbench_cli: Cli) -> None:
    options = ("--limit", 4, "--metrics", "psnr", "--json")
    status, out, _ = tokbench_cli("run", "-t", "@pixel-local", *options)
    assert status == 0
    assert [record["tokenizer"]["name"] for record in json.loads(out)] == members("@pixel-local")
    status, _, err = tokbench_cli("run", "-t", "@pixel-local", "--weights", "x.pt", *options)
    assert status == 2
    assert "--weights, --drop and --averages belong to one tokenizer, 2 are given" in err


def test_one_of_a_set_that_cannot_be_loaded_is_left_out_and_named(folder: Path, tokbench_cli: Cli) -> None:
    (folder / "mine.txt").write_text("not_here_at_all:Class\npixel/rgb\n")
    status, out, err = tokbench_cli("run", "-t", "@mine.txt", "--limit", 4, "--metrics", "psnr", "--json")
    assert status == 1
    assert [record["tokenizer"]["name"] for record in json.loads(out)] == ["pixel/rgb"]
    assert "tokbench: not_here_at_all:Class is left out: cannot import 'not_here_at_all'" in err


def test_an_export_of_a_set_makes_a_folder_each(folder: Path, tokbench_cli: Cli) -> None:
    (folder / "mine.txt").write_text("pixel/palette-512\npatch\n")
    options = ("-t", "@mine.txt", "--limit", 4, "--out", "tokens")
    status, _, err = tokbench_cli("export", *options, "--memmap", "one")
    assert (status, err.count("\n")) == (2, 1)
    assert "--memmap is of one tokenizer, and @mine.txt has 2; leave it out, or export them one by one with -t NAME" in err
    assert "--as bin=there is of one tokenizer" in tokbench_cli("export", *options, "--as", "bin=there")[2]
    assert not (folder / "tokens").exists()
    status, _, err = tokbench_cli("export", *options)
    assert status == 0, err
    assert sorted(path.name for path in (folder / "tokens").iterdir()) == ["patch", "pixel-palette-512"]
    assert tokbench_cli("verify", "tokens/patch")[0] == 0


def test_what_is_none_of_the_zoo_stands_in_a_file_for_a_run_alone(folder: Path, tokbench_cli: Cli) -> None:
    """A codec, a class of one's own and a saved tokenizer: a list leaves them out and says so, and there is nothing to fetch of them."""
    (folder / "saved").mkdir()
    (folder / "mine.txt").write_text("vqvae/tiny\nanchor/webp-320\nmy:Class\nsaved\n")
    status, out, err = tokbench_cli("list", "-t", "@mine.txt", "--json")
    assert (status, [row["name"] for row in json.loads(out)]) == (0, ["vqvae/tiny"])
    assert err == "not of the zoo, and so in no list: anchor/webp-320, my:Class, saved\n"
    assert tokbench_cli("weights", "get", "@mine.txt") == (0, "", "0 files to fetch; 4 with nothing to fetch\n")
    status, _, err = tokbench_cli("list", "-t", "anchor/webp-320")
    assert (status, err.partition("'anchor")[0]) == (2, "tokbench: unknown tokenizer ")


def test_sets_are_listed(tokbench_cli: Cli) -> None:
    status, out, _ = tokbench_cli("list", "--sets")
    assert status == 0
    found = {line.split()[0]: int(line.split()[1]) for line in out.splitlines() if line.startswith("@")}
    assert found == {f"@{word}": number for word, number in counts().items()}
    assert set(sets.MEANINGS) <= counts().keys()
    rows = json.loads(tokbench_cli("list", "-t", "@titok", "--continuous", "--json")[1])
    assert [row["name"] for row in rows] == members("@titok-continuous")
