"""The names a user imports."""

import subprocess
import sys

import pytest

import tokbench
import tokbench.tokenizers


def test_every_public_name_resolves():
    for module in (tokbench, tokbench.tokenizers):
        for name in module.__all__:
            assert getattr(module, name) is not None
        assert set(module.__all__) == set(dir(module))


def test_unknown_names_are_attribute_errors():
    with pytest.raises(AttributeError, match="no attribute 'encode'"):
        tokbench.encode  # noqa: B018


def test_importing_the_package_is_light():
    code = "import sys, tokbench, tokbench.tokenizers; assert not {'torch', 'numpy', 'PIL'} & set(sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_session_of_the_readme():
    import torch

    tok = tokbench.load("vqgan")
    images = torch.rand(2, 3, 64, 64) * 2 - 1
    tokens = tok.encode(images)
    assert tokens.codes.shape == (2, 256, 1)
    assert tok.decode(tokens).shape == images.shape


def test_families_import_by_name():
    from tokbench.tokenizers import VAE, VQGAN, VQVAE, PixelPalette, PixelRGB, pixel, vqgan

    assert issubclass(VQGAN, tokbench.Tokenizer)
    assert isinstance(tokbench.load("vqvae"), VQVAE)
    assert isinstance(tokbench.load("vae"), VAE)
    assert isinstance(tokbench.load("pixel"), PixelPalette)
    assert isinstance(tokbench.load("pixel/rgb"), PixelRGB)
    assert pixel.__doc__
    assert vqgan.__doc__
