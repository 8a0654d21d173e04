"""The stochastic side of the VAE: seeds."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from tokbench.errors import TokbenchError
from tokbench.tokenizers.vae.model import VAE
from tokbench.tokenizers.vae.variants import VAEConfig


@pytest.fixture
def sampling(small_vae: VAE) -> VAE:
    model = VAE(replace(small_vae.config, posterior="sample")).eval()
    model.load_state_dict(small_vae.state_dict())
    return model


@pytest.fixture
def images() -> Tensor:
    return torch.rand(3, 3, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1


def test_the_posterior_is_in_the_identity(small_vae: VAE, sampling: VAE) -> None:
    assert small_vae.config != sampling.config
    assert (small_vae.encode_is_stochastic, sampling.encode_is_stochastic) == (False, True)
    assert not sampling.decode_is_stochastic


def test_latents_follow_the_seed_not_the_place_in_the_batch(sampling: VAE, images: Tensor) -> None:
    together = sampling.encode(images, seeds=[5, 6, 7]).latents
    turned = sampling.encode(images.flip(0), seeds=[7, 6, 5]).latents.flip(0)
    torch.testing.assert_close(together, turned, atol=1e-6, rtol=0)
    same_noise = sampling.encode(images[:1].expand(2, -1, -1, -1), seeds=[5, 5]).latents
    assert torch.equal(same_noise[0], same_noise[1])
    other_noise = sampling.encode(images[:1].expand(2, -1, -1, -1), seeds=[5, 6]).latents
    assert not torch.allclose(other_noise[0], other_noise[1])


def test_a_sample_is_mean_plus_noise_times_deviation(small_vae: VAE, sampling: VAE, images: Tensor) -> None:
    with torch.no_grad():
        posterior = small_vae.posterior(images)
    sample = sampling.encode(images, seeds=[1, 2, 3]).latents.transpose(1, 2).reshape(posterior.mean.shape)
    noise = (sample - posterior.mean) / posterior.std
    expected = torch.stack([torch.randn(3, 4, 4, generator=torch.Generator().manual_seed(seed)) for seed in (1, 2, 3)])
    torch.testing.assert_close(noise, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("seeds", [torch.tensor([1, 2, 3]), (1, 2, 3)])
def test_seeds_come_as_tensor_or_tuple(sampling: VAE, images: Tensor, seeds: Tensor | tuple[int, ...]) -> None:
    assert torch.equal(sampling.encode(images, seeds=seeds).latents, sampling.encode(images, seeds=[1, 2, 3]).latents)


def test_missing_seeds_and_a_wrong_number(sampling: VAE, images: Tensor) -> None:
    sampling.name = "vae/small"
    with pytest.raises(TokbenchError, match=r"vae/small draws noise: pass seeds=\[...\], one integer per image \(3 here\)"):
        sampling.encode(images)
    with pytest.raises(ValueError, match="got 2 seeds for 3 images"):
        sampling.encode(images, seeds=[1, 2])


def test_the_global_generator_is_left_alone(sampling: VAE, images: Tensor) -> None:
    before = torch.get_rng_state()
    sampling.encode(images, seeds=[1, 2, 3])
    assert torch.equal(torch.get_rng_state(), before)


def test_private_methods_are_differentiable(small_vae: VAE, images: Tensor) -> None:
    images.requires_grad_()
    small_vae._decode(small_vae._encode(images, []), []).sum().backward()
    assert float(images.grad.abs().sum()) > 0


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"posterior": "mode"}, "posterior is mean or sample, got 'mode'"),
        ({"quant_convs": False}, r"without quant_convs autoencoder.z_channels \(4\) must equal embed_dim \(3\)"),
        ({"embed_dim": 0}, "embed_dim must be positive, got 0"),
    ],
)
@pytest.mark.usefixtures("unchecked_types")
def test_a_configuration_is_validated_at_birth(small_vae: VAE, change: dict, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        replace(small_vae.config, **change)


def test_the_encoder_must_emit_the_variance(small_vae: VAE) -> None:
    with pytest.raises(ValueError, match="double_z=True"):
        VAEConfig(replace(small_vae.config.autoencoder, double_z=False), embed_dim=3)


def test_without_quant_convolutions(small_vae: VAE, images: Tensor) -> None:
    model = VAE(replace(small_vae.config, embed_dim=4, quant_convs=False)).eval()
    assert not any("quant_conv" in key for key in model.state_dict())
    assert model.decode(model.encode(images)).shape == images.shape
