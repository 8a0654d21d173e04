"""Tokens in the form of a shard's rows, and back."""

from __future__ import annotations

import numpy as np
import torch
from einops import rearrange

from tokbench.errors import TokbenchError
from tokbench.feed.job import ExportJob
from tokbench.tokens import ContinuousTokens, DiscreteTokens, Tokens


def stored(tokens: Tokens, job: ExportJob) -> np.ndarray:
    """Bring tokens into the form of a shard's rows.

    Args:
        tokens: Tokens of B images.
        job: What they should be.

    Returns:
        ``[B, L * K]`` (or ``[B, L * C]``), position major, in the job's type.

    Raises:
        TokbenchError: If they are not laid out as the tokenizer announced, or the type cannot hold them.
    """
    layout, name = job.layout, job.tokenizer.name
    sizes, width = (tokens.codebook_sizes, 0) if isinstance(tokens, DiscreteTokens) else ((), tokens.latents.shape[2])
    if (tokens.grid, sizes, width) != (layout.grid, layout.codebook_sizes, layout.channels):
        raise TokbenchError(
            f"{name} encoded a grid {tokens.grid} with codebooks {sizes} and {width} channels, its layout announces {layout.grid}, "
            f"{layout.codebook_sizes} and {layout.channels}; mend its layout"
        )
    if isinstance(tokens, DiscreteTokens):
        return tokens.codes.flatten(1).cpu().numpy().astype(job.dtype)
    return _stored_latents(tokens, job)


def as_tokens(values: np.ndarray, job: ExportJob, device: torch.device | None = None) -> Tokens:
    """Bring rows of a shard back into the form ``decode`` takes.

    Args:
        values: ``[B, L * K]`` or ``[B, L * C]``.
        job: What they are.
        device: Where the tokens shall be; None means the CPU.

    Returns:
        The tokens; latents as float32.

    Raises:
        ValueError: If a code is out of range.
    """
    flat = torch.from_numpy(values.astype(np.int64 if job.layout.discrete else np.float32)).to(device or "cpu")
    shaped = rearrange(flat, "b (l k) -> b l k", k=job.width)
    if job.layout.discrete:
        return DiscreteTokens(shaped, job.layout.grid, job.layout.codebook_sizes, job.layout.cut_size)
    return ContinuousTokens(shaped, job.layout.grid, job.layout.cut_size)


def _stored_latents(tokens: ContinuousTokens, job: ExportJob) -> np.ndarray:
    vectors = tokens.latents.float().cpu()
    latents = (vectors if job.normalisation is None else job.normalisation.applied(vectors)).flatten(1).numpy()
    if not np.isfinite(latents).all():
        raise TokbenchError(
            f"{job.tokenizer.name} encoded latents that are not finite; its weights are damaged, or it needs another precision"
        )
    largest = float(np.abs(latents).max(initial=0.0))
    if largest > float(np.finfo(job.dtype).max):
        raise TokbenchError(f"latents reach {largest:.6g}, more than {job.dtype} holds; store them as float32")
    return latents.astype(job.dtype)
