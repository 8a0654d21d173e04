"""Plug-ins that break the contract of a tokenizer, one way each: every one is named in one line, by run and by export, and the others go on."""

import json
import textwrap

import pytest

from tokbench.conduct import Misbehaved, blamed

pytestmark = pytest.mark.usefixtures("unchecked_types")  # users have no run-time check of annotations, which would come first

GOOD = """
import sys
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from tokbench import ContinuousTokens, DiscreteTokens, TokbenchError, TokenLayout, Tokenizer


@dataclass(frozen=True)
class Config:
    block: int = 8


class Good(Tokenizer):
    Config = Config
    trained_with = ()

    def __init__(self, config):
        super().__init__()
        self.config = config

    @property
    def stride(self):
        return self.config.block

    def layout(self, height, width):
        return TokenLayout((height, width), (height // self.stride, width // self.stride), (64, 64, 64))

    def codes(self, images):
        means = F.avg_pool2d(images, self.stride).flatten(2).transpose(1, 2)
        return ((means + 1) / 2 * 63).round().long().contiguous()

    def _encode(self, images, seeds):
        return DiscreteTokens(self.codes(images), (images.shape[2] // self.stride, images.shape[3] // self.stride), (64, 64, 64))

    def _decode(self, tokens, seeds):
        blocks = (tokens.codes.float() / 63 * 2 - 1).transpose(1, 2).unflatten(2, tokens.grid)
        return F.interpolate(blocks, scale_factor=self.stride, mode="nearest")


class Latents(Good):
    def layout(self, height, width):
        return TokenLayout((height, width), (height // self.stride, width // self.stride), channels=3)

    def _encode(self, images, seeds):
        means = F.avg_pool2d(images, self.stride)
        return ContinuousTokens(means.flatten(2).transpose(1, 2), tuple(means.shape[2:]))

    def _decode(self, tokens, seeds):
        return F.interpolate(tokens.latents.transpose(1, 2).unflatten(2, tokens.grid), scale_factor=self.stride, mode="nearest")


class Raises:
    def __init__(self, error):
        self.error = error

    def __call__(self, *args, **kwargs):
        raise self.error


class Speechless(Exception):
    def __str__(self):
        raise ValueError


class Alien(BaseException):
    pass


def grid_of(images, stride):
    return (images.shape[2] // stride, images.shape[3] // stride)

"""

ENCODE = {  # name: body of _encode, words of the line
    "other_grid": ("return DiscreteTokens(self.codes(images), (64,), (64, 64, 64))", "encoded a grid (64,)"),
    "other_sizes": ("return DiscreteTokens(self.codes(images), grid_of(images, 8), (64, 64, 65))", "its layout announces"),
    "fewer_books": ("return DiscreteTokens(self.codes(images)[..., :1], grid_of(images, 8), (64,))", "its layout announces"),
    "latents": (
        "return ContinuousTokens(self.codes(images).float(), grid_of(images, 8))",
        "returns ContinuousTokens, its layout announces",
    ),
    "one_for_all": ("return super()._encode(images[:1], seeds)", "tokens of 1 image for 16"),
    "two_for_each": ("return super()._encode(torch.cat([images, images]), seeds)", "tokens of 32 images for 16"),
    "none": ("return None", "encode of Bad returns None"),
    "a_list": ("return super()._encode(images, seeds).codes.tolist()", "encode of Bad returns a list"),
    "a_tensor": ("return self.codes(images)", "encode of Bad returns a tensor of torch.int64"),
    "int32": ("return DiscreteTokens(self.codes(images).int(), grid_of(images, 8), (64, 64, 64))", "codes must be an int64 tensor"),
    "uint8": ("return DiscreteTokens(self.codes(images).byte(), grid_of(images, 8), (64, 64, 64))", "codes must be an int64 tensor"),
    "floats": ("return DiscreteTokens(self.codes(images).float(), grid_of(images, 8), (64, 64, 64))", "codes must be an int64 tensor"),
    "out_of_range": ("return DiscreteTokens(self.codes(images) + 60, grid_of(images, 8), (64, 64, 64))", "allowed is 0..63"),
    "negative": ("return DiscreteTokens(self.codes(images) - 60, grid_of(images, 8), (64, 64, 64))", "allowed is 0..63"),
    "meta": ("return DiscreteTokens(self.codes(images).to('meta'), grid_of(images, 8), (64, 64, 64))", "fails in encode"),
    "written_later": (
        "tokens = super()._encode(images, seeds); tokens.codes.add_(1000); return tokens",
        "codes of codebook 0 range over 10",
    ),
    "raises": ("raise ValueError('two' + chr(10) + 'lines ' + chr(27) + '[31m')", "fails in encode (ValueError: two, bad.py line"),
    "raises_nothing": ("raise Speechless", "fails in encode (Speechless, bad.py line"),
    "raises_ours": ("raise TokbenchError('the sky is not blue')", "Bad: the sky is not blue"),
    "asserts": ("assert images.mean() > 5", "fails in encode (AssertionError"),
    "exits": ("sys.exit(0)", "fails in encode (SystemExit: 0"),
    "alien": ("raise Alien('x')", "fails in encode (Alien: x"),
    "exits_when_read": (
        "class Quiet(BaseException):\n            def __str__(self): raise SystemExit(3)\n        raise Quiet",
        "fails in encode (Quiet",
    ),
    "no_class_told": (
        "class Odd:\n            @property\n            def __class__(self): raise SystemExit(3)\n        return Odd()",
        "fails in encode (SystemExit: 3",
    ),
    "stops": ("raise StopIteration", "fails in encode (StopIteration"),
    "writes_images": ("tokens = super()._encode(images, seeds); images.zero_(); return tokens", "encode of Bad writes into the images"),
    "writes_memory": ("images.numpy()[:] = 0.5; return super()._encode(images, seeds)", "encode of Bad writes into the images"),
    "recurses": ("return self._encode(images, seeds)", "fails in encode (RecursionError"),
}

LATENT = {
    "infinite": (
        "tokens = super()._encode(images, seeds); return ContinuousTokens(tokens.latents / 0, tokens.grid)",
        "latents that are not finite",
    ),
    "nan": (
        "tokens = super()._encode(images, seeds); tokens.latents[0, 0, 0] = float('nan'); return tokens",
        "latents that are not finite",
    ),
    "more_channels": (
        "tokens = super()._encode(images, seeds); return ContinuousTokens(tokens.latents.repeat(1, 1, 2), tokens.grid)",
        "6 channels",
    ),
    "latents_meta": (
        "tokens = super()._encode(images, seeds); return ContinuousTokens(tokens.latents.to('meta'), tokens.grid)",
        "a tensor on meta",
    ),
    "gradients": (
        "tokens = super()._encode(images, seeds); return ContinuousTokens(tokens.latents.requires_grad_(), tokens.grid)",
        "encode of Bad returns a tensor that requires gradients",
    ),
    "alternates": (
        "self.n = getattr(self, 'n', 0) + 1; return super()._encode(images, seeds) if self.n < 2 else Good._encode(self, images, seeds)",
        "returns DiscreteTokens, its layout announces latents",
    ),
}

DECODE = {  # an export decodes nothing
    "bytes": ("return super()._decode(tokens, seeds).byte()", "decode of Bad returns a tensor of torch.uint8"),
    "nothing": ("return None", "decode of Bad returns None"),
    "numpy": ("return super()._decode(tokens, seeds).numpy()", "decode of Bad returns a ndarray"),
    "other_size": ("return super()._decode(tokens, seeds)[..., :32]", "decoded (16, 3, 64, 32), expected (16, 3, 64, 64)"),
    "one_image": ("return super()._decode(tokens, seeds)[:1]", "decoded (1, 3, 64, 64), expected (16, 3, 64, 64)"),
    "grey": ("return super()._decode(tokens, seeds)[:, :1]", "decoded (16, 1, 64, 64)"),
    "infinities": ("return super()._decode(tokens, seeds) / 0", "decoded infinite pixels of image 0.png; its weights are damaged"),
    "infinity": ("return super()._decode(tokens, seeds) + float('inf')", "decoded infinite pixels"),
    "with_gradients": ("return super()._decode(tokens, seeds).requires_grad_()", "decode of Bad returns a tensor that requires gradients"),
    "elsewhere": ("return super()._decode(tokens, seeds).to('meta')", "decode of Bad returns a tensor on meta"),
    "writes_tokens": ("tokens.codes.zero_(); return super()._decode(tokens, seeds)", "decode of Bad writes into the tokens"),
    "leaves": ("raise SystemExit('bye')", "fails in decode (SystemExit: bye"),
}

LOAD = {  # name: the class or module, words of the line
    "exits_at_import": ("sys.exit(3)\nclass Bad(Good): pass", "cannot import 'bad' for 'bad:Bad' (SystemExit: 3)"),
    "raises_at_import": ("1 / 0\nclass Bad(Good): pass", "cannot import 'bad' for 'bad:Bad' (ZeroDivisionError: division by zero)"),
    "no_syntax": ("class Bad(Good) pass", "cannot import 'bad' for 'bad:Bad' (SyntaxError: "),
    "missing_import": ("import nothing_like_it\nclass Bad(Good): pass", "ModuleNotFoundError: No module named 'nothing_like_it'"),
    "no_class": ("class Bda(Good): pass", "module 'bad' has no 'Bad'; did you mean bad:Bda?"),
    "no_tokenizer": ("class Bad: pass", "is not a subclass of tokbench.tokenizers.Tokenizer"),
    "an_instance": ("Bad = Good(Config())", "is not a subclass of tokbench.tokenizers.Tokenizer"),
    "lacks_methods": ("class Bad(Tokenizer): pass", "bad:Bad lacks _decode and _encode and layout; write them"),
    "lacks_layout": (
        "class Bad(Tokenizer):\n    Config = Config\n    _encode = Good._encode\n    _decode = Good._decode",
        "bad:Bad lacks layout; write it",
    ),
    "lacks_one": ("class Bad(Tokenizer):\n    layout = Good.layout\n    _encode = Good._encode", "bad:Bad lacks _decode; write it"),
    "no_init": ("class Bad(Good):\n    def __init__(self): super().__init__(Config())", "fails in __init__ (TypeError: "),
    "raising_init": ("class Bad(Good):\n    def __init__(self, config): raise OSError('no file')", "fails in __init__ (OSError: no file"),
    "no_module_init": ("class Bad(Good):\n    def __init__(self, config): self.config = config", "bad:Bad fails in"),
    "no_config_kept": ("class Bad(Good):\n    def __init__(self, config): Tokenizer.__init__(self)", "takes a Config and keeps none"),
    "thawed": ("@dataclass\nclass Loose:\n    block: int = 8\nclass Bad(Good): Config = Loose", "Config of bad:Bad is not frozen"),
    "no_dataclass": ("class Plain:\n    block = 8\nclass Bad(Good): Config = Plain", "Config of bad:Bad is no dataclass"),
    "needs_values": ("@dataclass(frozen=True)\nclass Needs:\n    block: int\nclass Bad(Good): Config = Needs", "fails in Config() (TypeError"),
    "tensor_config": (
        "@dataclass(frozen=True)\nclass Rich:\n    block: int = 8\n    table: object = torch.zeros(2)\nclass Bad(Good): Config = Rich",
        "config of bad:Bad holds what no record can hold",
    ),
    "odd_name": ("class Bad(Good): name = 'a' + chr(10) + 'b'", "bad:Bad calls itself 'a\\\\nb'"),
    "escaping_name": ("class Bad(Good): name = chr(27) + '[31m'", "bad:Bad calls itself '\\\\x1b[31m'"),
    "number_name": ("class Bad(Good): name = 7", "bad:Bad calls itself 7"),
    "long_name": ("class Bad(Good): name = 'x' * 500", "at most 200 characters"),
    "zoo_name": ("class Bad(Good): name = 'vqgan/tiny'", "calls itself 'vqgan/tiny', a name of the zoo"),
    "raising_name": ("class Bad(Good):\n    @property\n    def name(self): raise KeyError('name')", "fails in its name"),
    "moves_to_none": ("class Bad(Good):\n    def to(self, device): return None", "bad:Bad fails in moving to cpu"),
    "raising_layout": ("class Bad(Good):\n    def layout(self, height, width): raise KeyError(height)", "fails in layout (KeyError: 64"),
    "no_layout": ("class Bad(Good):\n    def layout(self, height, width): return (8, 8)", "layout of bad:Bad returns a tuple, not a TokenLayout"),
    "narrow_layout": ("class Bad(Good):\n    def layout(self): return None", "fails in layout (TypeError: "),
    "float_layout": (
        "class Bad(Good):\n    def layout(self, h, w): return TokenLayout((h, w), (h / 8, w / 8), (64,) * 3)",
        "all its numbers must be ints",
    ),
    "other_layout": ("class Bad(Good):\n    def layout(self, h, w): return super().layout(2 * h, w)", "is of an image of (128, 64)"),
    "zero_layout": ("class Bad(Good):\n    def layout(self, h, w): return TokenLayout((h, w), (0, 0), (64,) * 3)", "fails in layout (ValueError"),
}  # fmt: skip

BAD_NAME = "class Bad({base}):\n    name = 'Bad'\n    def {method}:\n        {body}\n"


def written(kind):
    """The text of a module whose ``Bad`` misbehaves in one way, and the words that must name it."""
    for table, base, method in (
        (ENCODE, "Good", "_encode(self, images, seeds)"),
        (LATENT, "Latents", "_encode(self, images, seeds)"),
        (DECODE, "Good", "_decode(self, tokens, seeds)"),
    ):
        if kind in table:
            body, words = table[kind]
            return GOOD + BAD_NAME.format(base=base, method=method, body=body), words
    body, words = LOAD[kind]
    return GOOD + textwrap.dedent(body).replace("class Bad(Good): pass", "class Bad(Good): name = 'Bad'"), words.replace("\\\\", "\\")


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Write a module ``bad`` into the current folder, which is imported afresh."""
    import importlib
    import sys

    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def write(kind):
        text, words = written(kind)
        (tmp_path / "bad.py").write_text(text)
        importlib.invalidate_caches()
        sys.modules.pop("bad", None)
        return words

    yield write
    sys.modules.pop("bad", None)


@pytest.fixture(scope="session")
def noise(tmp_path_factory):
    """Folders of 2 and of 18 pictures."""
    import numpy as np
    from PIL import Image

    root = tmp_path_factory.mktemp("noise")
    for count in (2, 18):
        (root / str(count)).mkdir()
        for i in range(count):
            Image.fromarray(np.random.default_rng(i).integers(0, 256, (64, 64, 3), np.uint8)).save(root / str(count) / f"{i}.png")
    return root


@pytest.fixture
def few(noise):
    """As few pictures as show the fault: those of one micro-batch, unless it takes two."""
    return lambda kind: noise / ("18" if kind == "alternates" else "2")


def one_line(err, words):
    (line,) = [line for line in err.splitlines() if line.startswith("tokbench: ")]
    assert words in line, line
    assert line.isprintable(), line
    assert len(line) < 700, line
    assert "Traceback" not in err


KINDS = [*ENCODE, *LATENT, *DECODE, *LOAD]


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_names_a_bad_plugin_and_goes_on(kind, module, few, tokbench_cli, tmp_path):
    words = module(kind)
    status, out, err = tokbench_cli(
        "run", "-t", "bad:Bad", "-t", "pixel/rgb", "--data", few(kind), "--size", "64", "--metrics", "psnr", "--json", "--out", "out"
    )
    one_line(err, words)
    assert status == 1
    assert [record["tokenizer"]["name"] for record in json.loads(out)] == ["pixel/rgb"]
    assert len(list((tmp_path / "out").glob("*.json"))) == 1


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in DECODE])
def test_an_export_names_a_bad_plugin_and_leaves_nothing(kind, module, few, tokbench_cli, tmp_path):
    words = module(kind)
    status, out, err = tokbench_cli("export", "-t", "bad:Bad", "--data", few(kind), "--out", "tokens")
    one_line(err, words)
    assert (status, out) == (2, "")
    assert not (tmp_path / "tokens").exists()


@pytest.mark.parametrize("kind", ["none", "exits", "other_size", "raising_layout", "no_syntax"])
@pytest.mark.parametrize("command", ["probe", "reconstruct"])
def test_probes_and_pictures_name_a_bad_plugin(kind, command, module, tokbench_cli, noise):
    words = module(kind)
    if command == "probe" and kind in DECODE:
        pytest.skip("a probe decodes at its end")
    folder = noise / "18"
    arguments = ["--data", folder, "--held-out-data", noise / "2", "--budget", "smoke"] if command == "probe" else [folder / "0.png"]
    status, _, err = tokbench_cli(command, *arguments, "-t", "bad:Bad")
    one_line(err, words.replace("16", "1"))
    assert status in (1, 2)


def test_one_alone_that_cannot_be_loaded_is_a_mistake_before_the_work(module, tokbench_cli, tmp_path):
    words = module("no_syntax")
    status, out, err = tokbench_cli("run", "-t", "bad:Bad", "--data", "missing")
    one_line(err, words)
    assert (status, out) == (2, "")
    status, _, err = tokbench_cli("run", "-t", "bad:Bad", "-t", "bad:Worse")
    assert (status, err.count("tokbench: cannot import 'bad'")) == (2, 2)


def test_an_interrupt_stays_one(module, tokbench_cli, tmp_path):
    module("raises")
    text = (tmp_path / "bad.py").read_text()
    (tmp_path / "bad.py").write_text(
        text.replace("raise ValueError('two' + chr(10) + 'lines ' + chr(27) + '[31m')", "raise KeyboardInterrupt")
    )
    for command in (("run", "-t", "pixel/rgb", "-t", "bad:Bad"), ("export", "-t", "bad:Bad", "--out", "tokens")):
        status, _, err = tokbench_cli(*command, "--limit", 4)
        assert status == 130
        assert "tokbench: interrupted" in err


def test_what_a_plugin_prints_is_not_among_the_records(module, tokbench_cli, tmp_path):
    module("raises")
    text = (tmp_path / "bad.py").read_text()
    body = "raise ValueError('two' + chr(10) + 'lines ' + chr(27) + '[31m')"
    (tmp_path / "bad.py").write_text(
        "print('hello from the import')\n" + text.replace(body, "print('and from encode'); return super()._encode(images, seeds)")
    )
    status, out, err = tokbench_cli("run", "-t", "bad:Bad", "--limit", 4, "--metrics", "psnr", "--json")
    assert status == 0, err
    assert json.loads(out)[0]["tokenizer"]["name"] == "Bad"
    assert "hello from the import" in err
    assert "and from encode" in err


def test_values_far_outside_the_range_are_clamped(module, tokbench_cli, tmp_path):
    module("bytes")
    text = (tmp_path / "bad.py").read_text()
    (tmp_path / "bad.py").write_text(text.replace("super()._decode(tokens, seeds).byte()", "super()._decode(tokens, seeds).float() * 1e30"))
    status, out, err = tokbench_cli("run", "-t", "bad:Bad", "--limit", 4, "--metrics", "psnr", "--json")
    assert status == 0, err
    assert 0 < json.loads(out)[0]["metrics"]["psnr"]["value"] < 12


def test_show_tells_of_a_plugin(module, tokbench_cli, tmp_path):
    module("bytes")
    status, out, err = tokbench_cli("show", "bad:Bad")
    assert status == 0, err
    for part in ("grid              8, 8", "codebook sizes    64, 64, 64", "source sha256", "block = 8"):
        assert part in out
    values = json.loads(tokbench_cli("show", "bad:Bad", "--json")[1])
    assert (values["tokens_per_image"], values["config"], len(values["source_sha256"])) == (192, {"block": 8}, 64)
    for kind in ("lacks_methods", "no_syntax", "raising_layout"):
        words = module(kind)
        status, out, err = tokbench_cli("show", "bad:Bad")
        one_line(err, words)
        assert (status, out) == (2, "")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("bad.Bad", "here bad:Bad"),
        ("bad.py", "here bad:Good"),
        ("./bad.py", "here bad:Good"),
        ("bad", "here bad:Good"),
        ("bad/Bad", "here bad:Bad"),
        ("my.package.models.Mine", "here my.package.models:Mine"),
        ("none.py", "here none:CLASS"),
        ("vqgam", "See: tokbench list"),
        ("a.b", "See: tokbench list"),
    ],
)
def test_names_of_classes_and_files_are_told_how_they_are_written(module, tokbench_cli, given, expected):
    module("bytes")
    status, _, err = tokbench_cli("run", "-t", given)
    assert (status, err.count("\n")) == (2, 1)
    assert expected in err


def test_the_line_is_named_of_code_that_lies_beside_this_package():
    """As that of every installed plug-in does; this file is such a neighbour."""
    with pytest.raises(Misbehaved, match=r"ZeroDivisionError.*test_conduct\.py line \d+"), blamed("x:Y", "encode"):
        _ = 1 / 0
