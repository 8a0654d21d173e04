"""Where weights are, and how they come here: hub and URLs, kept once, pinned at first use, with a way out when offline."""

import hashlib
import io
import os
import re
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch

from tokbench.errors import TokbenchError
from tokbench.tokenizers import zoo
from tokbench.tokenizers.family import Variant
from tokbench.tokenizers.fetching import plan
from tokbench.weights import obtain, places
from tokbench.weights.download import WrongDigest
from tokbench.weights.places import HubPlace, WebPlace, check_pin, forget_pin, locate, parse_place
from tokbench.weights.torchfile.script import read_script


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv("TOKBENCH_CACHE", str(folder))
    return folder


@pytest.fixture
def web(monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """What is on the web; anything else cannot be reached."""
    content: dict[str, bytes] = {}

    def download(url: str, path: Path, *, sha256_prefix: str, **_: object) -> str:
        if url not in content:
            raise OSError("no connection: nobody home")
        digest = hashlib.sha256(content[url]).hexdigest()
        if not digest.startswith(sha256_prefix):
            raise WrongDigest("it was deleted", digest)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content[url])
        return ""

    monkeypatch.setattr(places, "download", download)
    return content


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[tuple]:
    """A hub with one file and one folder; returns what was asked of it."""
    import huggingface_hub
    from huggingface_hub.errors import LocalEntryNotFoundError

    asked: list[tuple] = []

    def one(repo: str, file: str, *, revision: str | None, local_dir: Path | None, force_download: bool) -> str:
        asked.append((repo, file, revision, local_dir))
        if repo == "gone/gone":
            raise LocalEntryNotFoundError("cannot find the requested files")
        path = (local_dir or tmp_path / "hub") / file
        path.parent.mkdir(parents=True, exist_ok=True)
        if force_download or not path.exists():  # as the hub's library, which takes what is there for whole
            path.write_bytes(b"weights of " + repo.encode())
        return str(path)

    def snapshot(
        repo: str, *, allow_patterns: list[str], ignore_patterns: tuple[str, ...], revision: str | None, local_dir: Path | None
    ) -> str:
        asked.append((repo, tuple(allow_patterns), revision, local_dir))
        (tmp_path / "hub" / "vae").mkdir(parents=True)
        return str(tmp_path / "hub")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", one)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot)
    return asked


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("hf:a/b", HubPlace("a/b")),
        ("hf:a/b-1.0_x", HubPlace("a/b-1.0_x")),
        ("hf:a/b/vae", HubPlace("a/b", "vae")),
        ("hf:a/b@main/vae/w.safetensors", HubPlace("a/b", "vae/w.safetensors", "main")),
        ("hf:a/b@0123abc", HubPlace("a/b", "", "0123abc")),
        ("https://x.org/f/1/?dl=1", WebPlace("https://x.org/f/1/?dl=1")),
        ("HTTPS://X.org/f", WebPlace("HTTPS://X.org/f")),
        ("http://x.org/v.zip#m/model.ckpt", WebPlace("http://x.org/v.zip", "m/model.ckpt")),
        ("runs/hf/w.pt", Path("runs/hf/w.pt")),
        ("/w.pt", Path("/w.pt")),
    ],
)
def test_places_are_read_and_written(text: str, place: object) -> None:
    assert parse_place(text) == place
    assert str(place) == text


@pytest.mark.parametrize("text", ["hf:", "hf:a", "hf:/a/b", "hf:a/b@", "hf:a/b/../c", "hf:a b/c", "hf:a/b//"])
def test_a_place_that_is_none_says_how_to_write_one(text: str) -> None:
    if text == "hf:a/b//":
        assert parse_place(text) == HubPlace("a/b")
        return
    with pytest.raises(TokbenchError, match=r"names no place on the hub; write hf:OWNER/REPO/FILE"):
        parse_place(text)


@pytest.mark.parametrize("text", ["hf:a/b/\udcff.pt", "https://x/\udcff.pt", "HTTP://\ud800/w.pt"])
def test_a_place_in_no_encoding_is_refused(text: str) -> None:
    with pytest.raises(TokbenchError, match="is not written in UTF-8"):
        locate(text)


@pytest.mark.parametrize("text", ["ftp://x/y.pt", "s3://bucket/w.pt", "file:///etc/passwd", "FILE:///etc/passwd"])
def test_other_schemes_are_refused(text: str) -> None:
    with pytest.raises(TokbenchError, match=r"cannot be fetched; weights are a path, hf:OWNER/REPO/FILE, or a URL of http or https"):
        parse_place(text)


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://x/a/w.pt?x=1", "w.pt"),
        ("https://x/f/123/?dl=1", "weights.ckpt"),
        ("https://x/a%20b.pt", "a-b.pt"),
        ("https://x/..", "weights.ckpt"),
    ],
)
def test_downloads_have_plain_names(url: str, name: str) -> None:
    assert WebPlace(url).file_name == name


def test_a_url_is_fetched_once(web: dict[str, bytes], cache: Path) -> None:
    web["https://x/w.pt"] = b"abc"
    path = locate("https://x/w.pt")
    assert (path.name, path.read_bytes()) == ("w.pt", b"abc")
    assert path.is_relative_to(cache)
    web.clear()
    assert locate("https://x/w.pt") == path
    with pytest.raises(TokbenchError, match=r"cannot fetch https://x/v.pt \(no connection: nobody home\); .* pass its path"):
        locate("https://x/v.pt")


def test_a_file_is_taken_out_of_a_zip(web: dict[str, bytes]) -> None:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as content:
        content.writestr("model.ckpt", b"the model")
        content.writestr("other", b"x" * 100)
    web["https://x/v.zip"] = archive.getvalue()
    path = locate("https://x/v.zip#model.ckpt")
    assert path.read_bytes() == b"the model"
    assert [item.name for item in path.parent.iterdir()] == ["model.ckpt"]
    with pytest.raises(TokbenchError, match=r"holds no readable file 'none.ckpt'"):
        locate("https://x/v.zip#none.ckpt")
    web["https://x/broken.zip"] = archive.getvalue()[:60]
    with pytest.raises(TokbenchError, match=r"holds no readable file 'model.ckpt'"):
        locate("https://x/broken.zip#model.ckpt")


def test_a_file_that_changed_since_its_first_use_is_refused(tmp_path: Path, cache: Path) -> None:
    path = tmp_path / "w.pt"
    path.write_bytes(b"one")
    digest = check_pin("https://x/w.pt", path)
    assert check_pin("https://x/w.pt", path) == digest
    path.write_bytes(b"two")
    with pytest.raises(
        TokbenchError, match=rf"at first use it was {digest[:16]}.*To accept the new one: tokbench weights get https://x/w.pt --renew"
    ):
        check_pin("https://x/w.pt", path)
    (pin,) = (cache / "weights" / "pins").iterdir()
    assert pin.read_text() == f"{digest}  https://x/w.pt\n"
    assert forget_pin("https://x/w.pt")
    assert not forget_pin("https://x/w.pt")
    assert check_pin("https://x/w.pt", path) != digest
    (pin,) = (cache / "weights" / "pins").iterdir()
    pin.write_text("no digest\n")
    with pytest.raises(TokbenchError, match=r"holds no digest; delete it, or run: tokbench weights forget https://x/w.pt"):
        check_pin("https://x/w.pt", path)


@pytest.mark.parametrize("variable", ["TOKBENCH_CACHE", "XDG_CACHE_HOME", "HOME"])
@pytest.mark.parametrize("there", ["a file", "a pipe", "below a file", "not to be written"])
def test_a_cache_that_cannot_be_one(
    variable: str, there: str, web: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    web["https://x/w.pt"] = b"never asked for"
    given = tmp_path / "given"
    if there == "a pipe":
        os.mkfifo(given)
    elif there == "not to be written":
        monkeypatch.setattr(os, "access", lambda *_: False)  # whoever runs this may be allowed everything
    else:
        given.write_text("")
    for name in ("TOKBENCH_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(variable, str(given / "below" if there == "below a file" else given))
    with pytest.raises(TokbenchError, match=rf"^downloads are kept in {given}.*, which cannot be written; set TOKBENCH_CACHE to a folder"):
        locate("https://x/w.pt")
    assert not forget_pin("https://x/w.pt")


def test_a_pin_that_is_no_file_is_not_waited_for(tmp_path: Path, cache: Path) -> None:
    path = tmp_path / "w.pt"
    path.write_bytes(b"one")
    check_pin("https://x/w.pt", path)
    (pin,) = (cache / "weights" / "pins").iterdir()
    pin.unlink()
    os.mkfifo(pin)
    with pytest.raises(TokbenchError, match="holds no digest; delete it"):
        check_pin("https://x/w.pt", path)


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """The address of a folder that a server of our own serves."""

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    root = tmp_path / "served"
    root.mkdir()
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(root)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", root
    server.shutdown()
    server.server_close()


def test_what_changed_on_the_web_is_deleted_and_taken_only_when_renewed(served: tuple[str, Path], cache: Path) -> None:
    place, file = f"{served[0]}/w.pt", served[1] / "w.pt"
    file.write_bytes(b"one")
    path = locate(place)
    file.write_bytes(b"two")
    assert locate(place).read_bytes() == b"one"
    path.unlink()
    with pytest.raises(TokbenchError, match=rf"at first use it was .*; it was deleted. To accept .* weights get {place} --renew, or"):
        locate(place)
    assert not path.exists()
    assert locate(place, renew=True).read_bytes() == b"two"
    assert locate(place).read_bytes() == b"two"
    path.write_bytes(b"twp")  # a byte of it flipped
    with pytest.raises(TokbenchError, match="it was replaced or is damaged"):
        locate(place)
    file.unlink()
    with pytest.raises(TokbenchError, match="404"):
        locate(place, renew=True)
    assert path.read_bytes() == b"twp"  # nothing is lost that was not replaced


def test_what_is_in_a_zip_is_renewed_and_a_damaged_zip_leaves_no_pin(served: tuple[str, Path], cache: Path) -> None:
    place, file = f"{served[0]}/v.zip#m.ckpt", served[1] / "v.zip"
    file.write_bytes(b"PK no zip at all")
    with pytest.raises(TokbenchError, match=r"holds no readable file 'm.ckpt' .*; it was deleted, try again"):
        locate(place)
    assert not (cache / "weights" / "pins").exists()
    for content in (b"one", b"two"):
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr("m.ckpt", content)
        path = locate(place, renew=content == b"two")
        assert path.read_bytes() == content
        assert [item.name for item in path.parent.iterdir() if not item.name.endswith(".lock")] == ["m.ckpt"]
    path.unlink()
    assert locate(place).read_bytes() == b"two"
    assert forget_pin(place)
    assert not list((cache / "weights" / "pins").iterdir())


def test_a_zip_whose_file_claims_to_be_huge_is_refused(served: tuple[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "MOST_UNPACKED", 1 << 20)
    with zipfile.ZipFile(served[1] / "v.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("m.ckpt", bytes(8 << 20))
    with pytest.raises(TokbenchError, match="it claims 8388608 bytes"):
        locate(f"{served[0]}/v.zip#m.ckpt")
    with pytest.raises(TokbenchError, match="names no file in a zip; write URL#FOLDER/FILE"):
        locate(f"{served[0]}/v.zip#../m.ckpt")


def test_files_and_folders_of_the_hub(hub: list[tuple], tmp_path: Path) -> None:
    assert locate("hf:a/b@v1/x/w.safetensors").read_bytes() == b"weights of a/b"
    assert locate("hf:a/b/vae") == tmp_path / "hub" / "vae"
    assert hub == [("a/b", "x/w.safetensors", "v1", None), ("a/b", ("vae/*.json", "vae/*.safetensors"), None, None)]
    with pytest.raises(TokbenchError, match=r"cannot fetch hf:gone/gone/w.pt \(cannot find the requested files\)"):
        locate("hf:gone/gone/w.pt")


def test_a_file_of_the_hub_that_is_another_one_is_deleted_and_renewed(hub: list[tuple], tmp_path: Path, cache: Path) -> None:
    place = "hf:a/b/w.pt"
    path = locate(place)
    good = path.read_bytes()
    path.write_bytes(b"damaged")
    with pytest.raises(TokbenchError, match=rf"at first use it was .*; it was deleted. To accept .* weights get {place} --renew, or"):
        locate(place)
    assert not path.exists()
    path.write_bytes(b"damaged")
    assert locate(place, renew=True).read_bytes() == good == locate(place).read_bytes()


def test_weights_of_the_zoo_from_the_hub_are_checked_whoever_asks_for_them(hub: list[tuple], cache: Path) -> None:
    place, target = parse_place("hf:a/b/x/w.pt"), cache / "weights" / "zoo" / "x" / "w.pt"
    assert isinstance(place, HubPlace)
    assert places.fetch(place, target) == target
    target.write_bytes(b"damaged")
    with pytest.raises(TokbenchError, match="it was replaced or is damaged"):
        places.fetch(place, target, name="zoo")


def test_weights_of_the_zoo_from_the_hub_lie_in_the_cache(hub: list[tuple], cache: Path) -> None:
    family, variant = zoo.resolve("vae/sd")
    assert obtain.weights_state(family, variant) == "to fetch"
    path = obtain.fetch_weights(family, variant)
    assert path == cache / "weights" / "vae" / "sd" / "vae" / "diffusion_pytorch_model.safetensors"
    assert hub == [("CompVis/stable-diffusion-v1-4", "vae/diffusion_pytorch_model.safetensors", None, cache / "weights" / "vae" / "sd")]
    assert obtain.weights_state(family, variant) == "here"
    assert obtain.fetch_weights(family, variant) == path == obtain.own_weights(family, variant)
    assert len(hub) == 1


def test_what_lies_beside_weights_is_fetched_along_and_alone_where_it_is_missing(hub: list[tuple], cache: Path) -> None:
    family, variant = zoo.resolve("vae/e2e-sd")
    beside = cache / "weights" / "vae" / "e2e-sd" / "config.json"
    assert obtain.lacks_beside(family, variant)
    assert obtain.fetch_weights(family, variant) == beside.with_name("diffusion_pytorch_model.safetensors")
    assert [file for _, file, *_ in hub] == ["diffusion_pytorch_model.safetensors", "config.json"]
    assert obtain.beside_path(family, variant) == beside
    assert beside.is_file()
    assert plan(["vae/e2e-sd"]).coming == ()
    beside.unlink()
    lacking = plan(["vae/e2e-sd"])
    assert (lacking.coming, lacking.bytes, lacking.unknown) == (("vae/e2e-sd",), 0, 1)
    obtain.fetch_weights(family, variant)
    assert [file for _, file, *_ in hub[2:]] == ["config.json"]
    beside.write_bytes(b"damaged")
    for use in (obtain.own_weights, obtain.fetch_weights):
        with pytest.raises(
            TokbenchError, match=r"config\.json \(hf:REPA-E/e2e-sdvae-hf/config\.json\) has SHA-256 .* weights get vae/e2e-sd"
        ):
            use(family, variant)
    assert obtain.forget_weights(variant)
    assert obtain.own_weights(family, variant) is not None


def test_weights_stay_where_what_lies_beside_them_cannot_be_fetched(hub: list[tuple], cache: Path) -> None:
    family, variant = zoo.resolve("vae/e2e-sd")
    row = replace(variant, file="hf:gone/gone/w.safetensors")
    path = obtain.cache_path(family, row)
    assert path is not None
    path.parent.mkdir(parents=True)
    path.write_bytes(b"weights")
    with pytest.raises(
        TokbenchError,
        match=r"^cannot fetch hf:gone/gone/config\.json \(.*\), which says how latents are normalised; the weights are here and load without "
        rf"it\. Fetch it by other means and put it at {path.with_name('config.json')}$",
    ):
        obtain.fetch_weights(family, row)
    assert obtain.own_weights(family, row) == path


def test_what_lies_beside_weights_is_on_the_hub_and_of_rows_that_say_nothing_themselves() -> None:
    rows = {f"{family.name}/{row.name}": row for family in zoo.families().values() for row in family.variants if row.beside is not None}
    assert rows.keys() >= {"vae/va", "qwen/e2e-image", *(f"vae/e2e-{name}" for name in ("sd", "in", "va", "flux", "sd3.5"))}
    for row in rows.values():
        assert row.file is not None
        assert isinstance(parse_place(row.file), HubPlace)
        assert row.normalisation is None


def test_every_file_of_the_zoo_has_a_place_and_a_path_of_its_own(cache: Path) -> None:
    paths = []
    for family in zoo.families().values():
        for variant in family.variants:
            if variant.file is not None:
                assert isinstance(parse_place(variant.file), HubPlace | WebPlace)
                assert variant.licence
                paths.append(obtain.cache_path(family, variant))
    assert len(set(paths)) == len(paths) >= 20
    assert all(path is not None and path.is_relative_to(cache / "weights") for path in paths)


DIGESTS = {"hf:a/b/x/w.pt": b"weights of a/b", "https://x/w.pt": b"good", "https://x/v.zip#in/w.pt": b"the model"}


@pytest.fixture(params=DIGESTS)
def known(request: pytest.FixtureRequest, web: dict[str, bytes], hub: list[tuple], cache: Path) -> Variant:
    """A variant whose file has a known digest, at each kind of place."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as content:
        content.writestr("in/w.pt", b"the model")
    web |= {"https://x/w.pt": b"good", "https://x/v.zip": archive.getvalue()}
    digest = hashlib.sha256(DIGESTS[request.param]).hexdigest()
    return Variant("x", zoo.resolve("vae/sd")[1].config, 64, "", file=request.param, sha256=digest)


def test_a_file_of_the_known_digest_is_taken_and_no_other(known: Variant, cache: Path) -> None:
    family, _ = zoo.resolve("vae")
    path = obtain.fetch_weights(family, known)
    assert obtain.own_weights(family, known) == path == obtain.fetch_weights(family, known, renew=True)
    path.write_bytes(b"damaged")
    for use in (obtain.own_weights, obtain.fetch_weights):
        with pytest.raises(
            TokbenchError,
            match=rf"^{path} has SHA-256 [0-9a-f]{{16}}..., the published file of vae/x has {known.sha256[:16]}...; it was replaced or is "
            "damaged. To fetch it again: tokbench weights get vae/x --renew; to use another file: --weights FILE$",
        ):
            use(family, known)
    assert obtain.own_weights(family, replace(known, sha256=None)) == path  # nothing was noted beside the known one
    assert obtain.fetch_weights(family, known, renew=True) == path == obtain.own_weights(family, known)


@pytest.mark.parametrize("renew", [False, True])
def test_a_published_file_of_another_digest_is_deleted(known: Variant, renew: bool) -> None:
    family, _ = zoo.resolve("vae")
    other = replace(known, sha256="0" * 64)
    with pytest.raises(TokbenchError, match=r"the published file of vae/x has 0{16}...; it was deleted"):
        obtain.fetch_weights(family, other, renew=renew)
    path = obtain.cache_path(family, other)
    assert path is not None
    assert not path.exists()
    assert obtain.fetch_weights(family, known) == path


def test_known_digests_are_whole_and_of_files() -> None:
    rows = [variant for family in zoo.families().values() for variant in family.variants if variant.sha256 is not None]
    assert len(rows) >= 2
    assert all(row.file is not None and re.fullmatch("[0-9a-f]{64}", row.sha256) for row in rows)


@pytest.mark.usefixtures("uncompared")
def test_offline_the_place_for_the_file_is_named_and_a_file_put_there_is_used(web: dict[str, bytes], cache: Path) -> None:
    name = "vqgan/ldm-f8-n256"
    family, variant = zoo.resolve(name)
    path = cache / "weights" / "vqgan" / "ldm-f8-n256" / "model.ckpt"
    with pytest.raises(TokbenchError, match=rf"cannot fetch https.*vq-f8-n256.zip#model.ckpt .*put it at {path}"):
        obtain.fetch_weights(family, variant)
    with pytest.raises(TokbenchError, match=rf"weights of {name} are not here; run: tokbench weights get {name}"):
        zoo.load(name)
    path.parent.mkdir(parents=True)
    torch.save({"state_dict": {"encoder.conv_in.weight": torch.zeros(2)}}, path)
    with pytest.raises(TokbenchError, match=r"model.ckpt does not fit VQGAN: \d+ missing"):
        zoo.load(name)
    torch.save({"state_dict": {"encoder.conv_in.weight": torch.ones(2)}}, path)
    with pytest.raises(TokbenchError, match="at first use it was"):
        zoo.load(name)


def test_variants_without_a_file_say_so() -> None:
    with pytest.raises(TokbenchError, match="vqgan/tiny needs no fetching: its weights are embedded"):
        obtain.fetch_weights(*zoo.resolve("vqgan"))
    with pytest.raises(TokbenchError, match="pixel/rgb needs no fetching: its weights are none needed"):
        obtain.fetch_weights(*zoo.resolve("pixel/rgb"))


def test_weights_may_be_a_place_of_the_web(web: dict[str, bytes], tmp_path: Path) -> None:
    file = obtain.weights_path(zoo.resolve("vqvae/tiny")[1])
    assert file is not None
    web["https://x/vqvae.safetensors"] = file.read_bytes()
    assert zoo.load("vqvae/tiny", weights="https://x/vqvae.safetensors").weights_sha256 == zoo.load("vqvae/tiny").weights_sha256


def test_tensors_are_taken_out_of_a_torchscript_archive_only_if_asked_for_by_name(tmp_path: Path, cache: Path) -> None:
    class Holder(torch.nn.Module):
        def __init__(self, state: dict[str, torch.Tensor]) -> None:
            super().__init__()
            self.clusters = torch.nn.Parameter(state["clusters"])

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x

    original = zoo.load("pixel/palette-512")
    path = tmp_path / "palette.jit"
    torch.jit.script(Holder(dict(original.state_dict()))).save(path)
    with pytest.raises(
        TokbenchError, match=r"it is a TorchScript archive, which is a program; to take its tensors alone, write torchscript:PATH"
    ):
        zoo.load("pixel/palette-512", weights=path)
    for _ in range(2):
        loaded = zoo.load("pixel/palette-512", weights=f"torchscript:{path}")
        assert torch.equal(loaded.state_dict()["clusters"], original.state_dict()["clusters"])
    assert len(list((cache / "weights" / "torchscript").iterdir())) == 1
    torch.save({"clusters": torch.zeros(512, 3)}, tmp_path / "plain.pt")
    with pytest.raises(TokbenchError, match=r"plain.pt is no TorchScript archive .*; without torchscript: it is read as weights"):
        zoo.load("pixel/palette-512", weights=f"torchscript:{tmp_path / 'plain.pt'}")
    with pytest.raises(TokbenchError, match=r"no TorchScript archive at none.jit; write torchscript:PATH"):
        zoo.load("pixel/palette-512", weights="torchscript:none.jit")


class Armed(torch.nn.Module):
    """A program with code that torch.jit.load runs: a file is made when the module is unpickled."""

    def __init__(self, canary: str) -> None:
        super().__init__()
        self.clusters = torch.nn.Parameter(torch.zeros(512, 3))
        self.canary = canary

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x

    @torch.jit.export
    def __getstate__(self) -> tuple[torch.Tensor, str, bool]:
        return (self.clusters, self.canary, self.training)

    @torch.jit.export
    def __setstate__(self, state: tuple[torch.Tensor, str, bool]) -> None:
        self.clusters = state[0] + torch.from_file(state[1], shared=True, size=1)
        self.canary = state[1]
        self.training = state[2]


@pytest.mark.usefixtures("cache")
@pytest.mark.filterwarnings("ignore:.*torch.jit")
def test_the_program_of_a_torchscript_archive_is_not_run(tmp_path: Path) -> None:
    canary, path = tmp_path / "canary", tmp_path / "armed.jit"
    torch.jit.script(Armed(str(canary))).save(str(path))
    with pytest.raises(TokbenchError, match=r"armed\.jit is no TorchScript archive"):
        zoo.load("pixel/palette-512", weights=f"torchscript:{path}")
    assert not canary.exists()
    torch.jit.load(path)
    assert canary.exists()  # it is armed


class Layer(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 1), torch.nn.BatchNorm2d(4))
        self.register_buffer("kept", torch.rand(2))
        self.plain = torch.rand(3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.inner(x) + self.plain.sum()


@pytest.mark.parametrize("traced", [False, True])
@pytest.mark.filterwarnings("ignore:.*torch.jit")
def test_tensors_of_torchscript_are_those_of_its_state_dict(tmp_path: Path, traced: bool) -> None:
    module = torch.nn.ModuleList([Layer(), Layer()])[1]
    program = torch.jit.trace(module.eval(), torch.rand(1, 3, 4, 4)) if traced else torch.jit.script(module)
    program.save(str(tmp_path / "p.jit"))
    found, expected = read_script(tmp_path / "p.jit"), program.state_dict()
    assert list(found) == list(expected)
    assert all(torch.equal(found[key], expected[key]) for key in expected)
