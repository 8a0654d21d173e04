"""The pass over the data: calibration, independence of how it is run, and what happens to bad input."""

import dataclasses
import re
from pathlib import Path

import pytest
import torch
from PIL import Image

import tokbench
from tokbench.bench.encode import image_seed, reproducible
from tokbench.bench.runner import RunOptions, run
from tokbench.data.open import open_source
from tokbench.data.source import ImageSource
from tokbench.errors import TokbenchError
from tokbench.layout import TokenLayout
from tokbench.records.left_out import is_without
from tokbench.records.protocol import get_protocol
from tokbench.tokenizers.base import Tokenizer
from tokbench.tokens import ContinuousTokens

FAST = ("psnr", "ssim", "lpips", "codebook", "stability")


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TOKBENCH_CACHE", str(tmp_path / "cache"))


def values(evaluation):
    return {key: metric.value for key, metric in evaluation.record.metrics.items()}


def test_lossless_tokenizer_calibrates_the_bench(folder):
    record = tokbench.evaluate(tokbench.load("pixel/rgb"), folder, metrics=FAST)
    figures = {key: metric.value for key, metric in record.metrics.items()}
    assert figures["psnr"] is None
    assert record.metrics["psnr"].exact == 12
    assert figures["ssim"] == pytest.approx(1, abs=1e-12)
    assert figures["lpips"] == 0
    assert figures["stability"] == 1
    assert record.tokens.bits_per_image == 64 * 64 * 24
    assert record.tokens.bpp == 24
    assert record.data.count == record.data.requested == 12
    assert record.data.name == "pictures"
    assert record.protocol_label == "tokbench-256+data=pictures+size=64"


def test_lossless_tokenizer_has_no_frechet_distance_on_the_photos():
    protocol = get_protocol(changes={"samples": 130})
    record = tokbench.evaluate(tokbench.load("pixel/rgb"), metrics=("fd_efflite0",), protocol=protocol)
    assert record.metrics["fd_efflite0"].value < 1e-6
    assert record.protocol_label == "photos-64+samples=130"


class Shuffled(ImageSource):
    """The same images in another order."""

    def __init__(self, source, order):
        self.source, self.order = source, order
        self.name, self.ids, self.ready_size = source.name, tuple(source.ids[i] for i in order), source.ready_size

    def read(self, index):
        return self.source.read(self.order[index])

    def raw_digest(self, index):
        return self.source.raw_digest(self.order[index])


def test_speeds_have_intervals_where_there_are_enough_micro_batches(folder):
    def record(micro_batch):
        protocol = get_protocol(changes={"micro_batch": micro_batch})
        return run(tokbench.load("pixel/palette-512"), folder, metrics=("psnr",), protocol=protocol).record

    many, few = record(1), record(4)
    assert (few.interval("encode"), few.interval("decode")) == (None, None)
    assert few.timing.encode_images_per_second > 0
    for direction in ("encode", "decode"):
        interval = many.interval(direction)
        assert interval.method == "order statistics of 11 micro-batches of one pass"
        assert 0 < interval.low <= getattr(many.timing, f"{direction}_images_per_second") <= interval.high


@pytest.mark.parametrize("name", ["pixel/palette-512", "vqvae/tiny", "vae/tiny"])
def test_batch_size_and_order_change_nothing(name, folder):
    tokenizer = tokbench.load(name)
    source = open_source(str(folder), size=64)
    first = run(tokenizer, source, metrics=FAST)
    assert first.rows["psnr"].keys() == set(source.ids)
    for batch_size in (1, 7):  # without an option it is 64
        again = run(tokenizer, source, metrics=FAST, options=RunOptions(batch_size=batch_size))
        assert again.rows == first.rows
        assert values(again) == values(first)
    shuffled = run(tokenizer, Shuffled(source, [5, 3, 11, 0, 1, 9, 2, 4, 10, 8, 7, 6]), metrics=FAST)
    assert shuffled.rows == first.rows
    assert values(shuffled) == values(first)
    assert shuffled.record.data.digest == first.record.data.digest
    assert shuffled.record.data.pixels_digest == first.record.data.pixels_digest


def test_rows_do_not_depend_on_the_neighbours_in_a_micro_batch(folder):
    """As with several processes: each sees a part, padded to the same size."""
    tokenizer = tokbench.load("vqvae/tiny")
    whole = run(tokenizer, folder, metrics=FAST)
    for name in ("03.png", "08.png"):
        (folder / name).rename(folder / f".{name}")
    part = run(tokenizer, folder, metrics=FAST)
    assert len(part.rows["psnr"]) == 10
    own = [column for column in part.rows if not is_without(column)]  # others are of the whole set without a part of it
    assert {"psnr", "stability"} <= set(own) < set(part.rows)
    for column in own:
        assert part.rows[column] == {image: whole.rows[column][image] for image in part.rows[column]}, column


def test_reference_features_come_from_the_cache_with_the_same_figures():
    tokenizer = tokbench.load("pixel/palette-512")
    protocol = get_protocol(changes={"samples": 128, "size": 32})
    cold, warm, without = (
        run(tokenizer, metrics=("fd_efflite0",), protocol=protocol, options=RunOptions(cache=cache)) for cache in (True, True, False)
    )
    assert values(cold) == values(warm) == values(without)
    assert values(cold)["fd_efflite0"] > 1


def test_limit_takes_a_seeded_choice_not_the_first(folder):
    def chosen(limit, seed):
        protocol = get_protocol(changes={"samples": limit, "seed": seed})
        return set(run(tokbench.load("pixel/rgb"), folder, metrics=("psnr",), protocol=protocol).rows["psnr"])

    assert len(chosen(5, 0)) == 5
    assert chosen(5, 0) == chosen(5, 0)
    assert chosen(5, 0) != chosen(5, 1)
    assert chosen(3, 0) < chosen(5, 0)
    assert chosen(5, 0) != set(sorted(chosen(12, 0))[:5])


def test_broken_images_are_skipped_counted_and_named(folder):
    (folder / "broken.png").write_bytes(b"not an image")
    (folder / "cut.png").write_bytes((folder / "01.png").read_bytes()[:900])
    evaluation = run(tokbench.load("pixel/rgb"), folder, metrics=("psnr",))
    data = evaluation.record.data
    assert (data.requested, data.count) == (14, 12)
    assert sorted(item.id for item in data.skipped) == ["broken.png", "cut.png"]
    assert all(item.reason for item in data.skipped)
    with pytest.raises(TokbenchError, match=r"(broken|cut)\.png cannot be read .*--strict"):
        run(tokbench.load("pixel/rgb"), folder, metrics=("psnr",), options=RunOptions(strict=True))


def test_nothing_readable_is_an_error(tmp_path):
    (tmp_path / "a.png").write_bytes(b"no")
    with pytest.raises(TokbenchError, match=r"the only image of .* cannot be read"):
        run(tokbench.load("pixel/rgb"), tmp_path, metrics=("psnr",))


def test_small_images_are_enlarged_and_counted(folder):
    Image.new("RGB", (20, 40), (200, 10, 10)).save(folder / "small.png")
    record = run(tokbench.load("pixel/rgb"), folder, metrics=("psnr",)).record
    assert record.data.enlarged == 1


def test_few_images_give_a_reason_instead_of_a_distance(folder):
    record = run(tokbench.load("pixel/rgb"), folder, metrics=("fd_efflite0", "rfid")).record
    assert record.metrics["fd_efflite0"].reason == "12 images; a Fréchet distance needs at least 128"
    assert "tokbench weights get inception" in record.metrics["rfid"].reason
    assert record.to_dict()["metrics"]["fd_efflite0"].keys() == {"reason"}


def test_a_size_beside_the_stride_is_padded_and_recorded():
    done = run(tokbench.load("vqvae/tiny"), metrics=("psnr",), protocol=get_protocol(changes={"size": 66, "samples": 2}))
    assert done.record.tokens.padding == (2, 2)
    with pytest.raises(TokbenchError, match="--size 64"):
        run(tokbench.load("flowmo/tiny"), metrics=("psnr",), protocol=get_protocol(changes={"size": 66, "samples": 2}))


class Noisy(Tokenizer):
    """Adds noise on both ways."""

    encode_is_stochastic = decode_is_stochastic = True
    name = "noisy"

    def layout(self, height, width):
        return TokenLayout((height, width), (height, width), channels=3)

    def _encode(self, images, seeds):
        return ContinuousTokens((images + self._noise(images, seeds)).flatten(2).transpose(1, 2), tuple(images.shape[2:]))

    def _decode(self, tokens, seeds):
        images = tokens.latents.transpose(1, 2).unflatten(2, tokens.grid)
        return images + self._noise(images, seeds)

    @staticmethod
    def _noise(images, seeds):
        return torch.stack([0.05 * torch.randn(images.shape[1:], generator=torch.Generator().manual_seed(seed)) for seed in seeds])


def test_noise_belongs_to_the_image_not_to_its_place(folder):
    source = open_source(str(folder), size=64)
    first = run(Noisy(), source, metrics=("psnr",))
    assert run(Noisy(), source, metrics=("psnr",), options=RunOptions(batch_size=1)).rows == first.rows
    assert run(Noisy(), Shuffled(source, list(range(11, -1, -1))), metrics=("psnr",)).rows == first.rows
    other = run(Noisy(), source, metrics=("psnr",), protocol=get_protocol(changes={"seed": 1}))
    assert other.rows != first.rows
    few = [run(Noisy(), source, metrics=("psnr",), protocol=get_protocol(changes={"samples": 5, "noise": noise})) for noise in (0, 1, 1)]
    assert few[0].rows["psnr"].keys() == few[1].rows["psnr"].keys()  # the same images
    assert all(few[0].rows["psnr"][name] != value for name, value in few[1].rows["psnr"].items())
    assert few[1].rows == few[2].rows
    assert first.record.tokens.bits_per_image is None
    assert first.record.tokens.storage_bits_per_image == 64 * 64 * 3 * 32


def test_image_seed_is_pinned():
    assert image_seed(0, "a/b.png", "encode") == 2849136893498628035
    assert image_seed(0, "a/b.png", "encode", noise=0) == image_seed(0, "a/b.png", "encode")
    assert len({image_seed(0, "a/b.png", "encode", noise=noise) for noise in range(100)}) == 100
    assert image_seed(0, "a/b.png", "decode") != image_seed(0, "a/b.png", "encode") != image_seed(1, "a/b.png", "encode")


class Broken(Noisy):
    """Decodes NaN."""

    def _decode(self, tokens, seeds):
        return super()._decode(tokens, seeds) * float("nan")


class Wrong(Noisy):
    """Decodes another size."""

    def _decode(self, tokens, seeds):
        return super()._decode(tokens, seeds)[..., :32]


def test_tokenizers_that_decode_nonsense_are_named(folder):
    with pytest.raises(TokbenchError, match="decoded NaN"):
        run(Broken(), folder, metrics=("psnr",))
    with pytest.raises(TokbenchError, match=r"decoded \(16, 3, 64, 32\)"):
        run(Wrong(), folder, metrics=("psnr",), size=64)


def test_figures_judged_by_a_training_network_are_marked(folder):
    tokenizer = tokbench.load("pixel/palette-512")
    tokenizer.trained_with = ("lpips-alex",)
    record = run(tokenizer, folder, metrics=("psnr", "lpips")).record
    assert record.metrics["lpips"].judged_by_training_network
    assert not record.metrics["psnr"].judged_by_training_network


def test_protocol_names_what_was_changed():
    protocol = get_protocol(changes={"size": "128", "uint8": "truncate"})
    assert protocol.label == "photos-64+size=128+uint8=truncate"
    assert get_protocol(changes={"size": None}).label == "photos-64"
    with pytest.raises(TokbenchError, match="unknown protocol setting 'sise'; did you mean size"):
        get_protocol(changes={"sise": 3})
    with pytest.raises(TokbenchError, match="samples must be at least 1"):
        get_protocol(changes={"samples": 0})
    with pytest.raises(dataclasses.FrozenInstanceError):
        protocol.size = 3


def test_truncation_costs_the_lossless_tokenizer(folder):
    protocol = get_protocol(changes={"uint8": "truncate"})
    record = run(tokbench.load("pixel/rgb"), folder, metrics=("psnr",), protocol=protocol).record
    assert 48 < record.metrics["psnr"].value < 60


def test_names_strings_and_single_metrics_do(folder, tmp_path):
    record = tokbench.evaluate("pixel/palette-512", str(folder), size=32, limit=5, seed=3, metrics="psnr")
    assert (record.tokenizer.name, list(record.metrics)) == ("pixel/palette-512", ["psnr"])
    assert (record.protocol.size, record.protocol.samples, record.protocol.seed, record.data.count) == (32, 5, 3, 5)
    assert list(tokbench.evaluate("anchor/jpeg-640", folder, metrics="psnr, ssim").metrics) == ["psnr", "ssim"]
    small = get_protocol(changes={"size": 32, "seed": 4})
    assert tokbench.evaluate("pixel/rgb", folder, limit=5, metrics=["psnr"], protocol=small).protocol_label.count("=") == 4
    with pytest.raises(TokbenchError, match=r"^size=0 is refused: size must be 1 to 8192 px, got 0$"):
        tokbench.evaluate("pixel/rgb", folder, size=0)
    with pytest.raises(TokbenchError, match="unknown tokenizer 'pixl'"):
        tokbench.evaluate("pixl", folder)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"tokenizer": None}, "or a name; got a NoneType"),
        ({"tokenizer": Noisy}, "or a name; got the class Noisy"),
        ({"tokenizer": Path("pixel")}, "or a name; got a PosixPath"),
        ({"protocol": "photos-64"}, "write tokbench.get_protocol(NAME)"),
        ({"options": {"workers": 2}}, "got a dict"),
        ({"metrics": ["psnr", 3]}, "metrics are names, those of others as module:Class, got 3"),
    ],
)
def test_what_is_of_another_kind_is_refused_before_anything_is_read(arguments, says):
    with pytest.raises(TokbenchError, match=re.escape(says)):
        tokbench.evaluate(**{"tokenizer": "pixel/rgb", "data": "nothing", **arguments})


class Own(ImageSource):
    """Pictures of the user's own."""

    name = "own"

    def __init__(self, ids=("0", "1", "2"), picture=None, digest=b"0" * 32, **changes):
        self.ids, self.picture, self.digest = ids, picture or Image.new("RGB", (32, 32)), digest
        self.__dict__.update(changes)

    def read(self, index):
        return self.picture

    def raw_digest(self, index):
        return self.digest


@pytest.mark.parametrize(
    ("source", "says"),
    [
        (Own((0, 1)), "own has an image of the id 0; ids are texts of UTF-8"),
        (Own(("a", "b", "a")), "own has two images with the id a; give every image its own name"),
        (Own(("a\udcff",)), "ids are texts of UTF-8"),
        (Own(iter("ab")), "ids of Own must be a sequence of one text an image, got a "),
        (Own("ab"), "ids of Own must be a sequence of one text an image, got a str"),
        (Own(name=None), "the name of Own is None; give it a text"),
        (Own(picture=Image.new("RGBA", (32, 32))), "0 of own comes as a picture of mode RGBA with a digest of type bytes; Own must give"),
        (Own(picture=3), "0 of own comes as a int with"),
        (Own(digest="abc"), "with a digest of type str; Own must give 8-bit RGB pictures and bytes"),
        (Own(picture=Image.new("RGB", (0, 5))), "none of the 3 images of own can be read (the first: 0: 0x5 pixels)"),
    ],
)
def test_a_source_of_ones_own_is_held_to_its_contract(source, says):
    with pytest.raises(TokbenchError, match=re.escape(says)):
        tokbench.evaluate("pixel/rgb", source, size=32, metrics="psnr")


@pytest.mark.parametrize("options", [{"workers": 0}, {"workers": -1}, {"workers": "2"}, {"workers": True}, {"batch_size": 0}])
def test_options_are_whole_numbers(options):
    with pytest.raises(ValueError, match="must be a whole number from 1 on, got "):
        RunOptions(**options)


def test_height_and_width_may_come_as_a_list(folder):
    assert tokbench.evaluate("pixel/rgb", folder, size=[32, 64], metrics="psnr").protocol.size == (32, 64)


@pytest.fixture
def allowed_to_round():
    """Products and convolutions may round to bfloat16 or TF32, as plug-ins and programs allow it; put back afterwards."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    yield
    torch.set_float32_matmul_precision(before)


def test_what_a_program_allows_around_a_run_changes_no_figure(folder, allowed_to_round):
    def figures():
        return tokbench.evaluate("vqgan", folder, limit=3, size=64, metrics="psnr,lpips,codebook").metrics

    with torch.autocast("cpu", torch.bfloat16):
        loose = figures()
    assert torch.get_float32_matmul_precision() == "medium"
    torch.set_float32_matmul_precision("highest")
    assert loose == figures()


def test_single_precision_is_kept_by_every_setting_of_torch(allowed_to_round):
    cudnn, products = torch.backends.cudnn, torch.backends.cuda.matmul

    def settings():
        newer = [getattr(one, "fp32_precision", None) for one in (products, cudnn, torch.backends.mkldnn)]
        return torch.get_float32_matmul_precision(), cudnn.benchmark, cudnn.deterministic, cudnn.enabled, newer

    cudnn.benchmark = True
    try:
        before = settings()
        with torch.autocast("cpu", torch.bfloat16), reproducible():
            assert not torch.is_autocast_enabled("cpu")
            assert (cudnn.benchmark, cudnn.deterministic, cudnn.enabled) == (False, True, True)
            if hasattr(products, "fp32_precision"):
                operators = (products, cudnn.conv, cudnn.rnn, torch.backends.mkldnn.matmul, torch.backends.mkldnn.conv)
                assert {operator.fp32_precision for operator in operators} == {"ieee"}
            else:
                assert torch.get_float32_matmul_precision() == "highest"
                assert not cudnn.allow_tf32
        assert settings() == before
    finally:
        cudnn.benchmark = False


def test_what_a_run_gives_is_written_and_read_by_public_names(folder, tmp_path):
    evaluation = tokbench.run("pixel/palette-512", folder, metrics="psnr", options=RunOptions(save_images=str(tmp_path / "images")))
    path = tokbench.write_record(evaluation.record, evaluation.rows, str(tmp_path / "runs"))
    assert tokbench.read_record(str(path)) == evaluation.record
    assert tokbench.read_rows(str(path)) == evaluation.rows
    assert len(evaluation.rows["psnr"]) == 12
    for rows in ({"psnr": {}}, {"psnr": {"a": 1.0}, "ssim": {}}):
        written = tokbench.read_rows(tokbench.write_record(evaluation.record, rows, tmp_path / "few"))
        assert {name: column for name, column in written.items() if column} == {name: column for name, column in rows.items() if column}
    assert tokbench.read_rows(".") == {}
