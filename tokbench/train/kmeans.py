"""Fitting the tokenizers that are a codebook and nothing else."""

from __future__ import annotations

import json
from collections.abc import Callable

import torch
from einops import rearrange
from torch import Tensor

from tokbench.configs import plain
from tokbench.data.source import ImageSource
from tokbench.errors import TokbenchError
from tokbench.files import folder_lock, make_folder, write_text
from tokbench.images import to_float
from tokbench.launch import by_the_first, joined, take_device
from tokbench.quantizers.kmeans import kmeans
from tokbench.quantizers.nearest import nearest_codes
from tokbench.ranks import own_device
from tokbench.together import over_all, own_rows, place
from tokbench.tokenizers.zoo import resolve, usable_device
from tokbench.train.crops import RandomCrops
from tokbench.train.digest import digest_of
from tokbench.train.options import LOG, WEIGHTS, TrainOptions, TrainResult
from tokbench.train.recipes import KMeansRecipe
from tokbench.weights.checkpoints import save_weights
from tokbench.weights.training import Training

CROPS_A_BATCH, ROUNDS = 64, 10


def fit(
    recipe: KMeansRecipe,
    source: ImageSource,
    options: TrainOptions,
    *,
    progress: Callable[[int, int, dict[str, float]], None] = lambda done, total, figures: None,
) -> TrainResult:
    """Fit a codebook; it takes seconds to minutes, so a run cannot be resumed, only repeated. Processes of ``torchrun`` share the vectors.

    Args:
        recipe: What to do.
        source: Pictures to draw crops from.
        options: Where and how.
        progress: Called by the first process after every step with steps done, steps in all, and the mean squared error.

    Returns:
        Where the codebook lies.

    Raises:
        Busy: If another process trains in ``out``.
        TokbenchError: If ``resume`` is asked for, or ``out`` cannot be written.
    """
    if options.resume:
        raise TokbenchError(f"{recipe.name} is fitted in one go and cannot be resumed; leave --resume out")
    with joined():
        return _fit(recipe, source, options, progress)


def _fit(
    recipe: KMeansRecipe, source: ImageSource, options: TrainOptions, progress: Callable[[int, int, dict[str, float]], None]
) -> TrainResult:
    _, variant = resolve(recipe.tokenizer)
    crops = RandomCrops(source, size=options.size or variant.image_size, scale=recipe.crop_scale, seed=recipe.seed, workers=options.workers)
    generator = torch.Generator().manual_seed(recipe.seed)
    device = take_device(usable_device(own_device(options.device)))  # before the vectors are drawn: a mistake shows at once
    vectors = own_rows(_sample(crops, recipe, generator)).to(device)
    by_the_first(lambda: make_folder(options.out))  # now, so that what is in the way does not show after minutes
    (size,) = variant.config.layout(variant.image_size, variant.image_size).codebook_sizes
    centres, log = kmeans(vectors, size, generator, iterations=1), ""
    for done in range(1, recipe.steps + 1):
        centres = kmeans(vectors, size, generator, iterations=1, start=centres)
        error = _error(vectors, centres) if done % ROUNDS == 0 else None
        if error is not None:
            log += json.dumps({"step": done, "mse": error}) + "\n"
        if place() == 0:
            progress(done, recipe.steps, {} if error is None else {"mse": error})
    about = {"tokenizer": recipe.tokenizer, "recipe": plain(recipe), "config": plain(variant.config)}
    about |= Training((f"data:{source.name}",), (digest_of(source),)).header()

    def save() -> None:
        with folder_lock(options.out, "train"):
            write_text(options.out / LOG, log)
            save_weights({recipe.tensor: centres.cpu()}, options.out / WEIGHTS, about=about)

    by_the_first(save)
    return TrainResult(recipe.steps, True, options.out / WEIGHTS)


def _error(vectors: Tensor, centres: Tensor) -> float:
    """Mean squared error over the vectors of all processes."""
    own = float((vectors - centres[nearest_codes(vectors, centres)]).square().mean())
    total, count = over_all(torch.tensor([own * len(vectors), len(vectors)], dtype=torch.float64)).tolist()
    return total / count


def _sample(crops: RandomCrops, recipe: KMeansRecipe, generator: torch.Generator) -> Tensor:
    p, step = recipe.patch, 0
    kept: list[Tensor] = []
    per_batch = max(1, recipe.vectors // 64)  # from at least 64 batches, so that all photos take part
    while sum(len(part) for part in kept) < recipe.vectors:
        images = to_float(crops.batch(step, CROPS_A_BATCH))
        patches = rearrange(images, "b c (h p) (w q) -> (b h w) (c p q)", p=p, q=p)
        kept.append(patches[torch.randperm(len(patches), generator=generator)[:per_batch]])
        step += 1
    return torch.cat(kept)[: recipe.vectors]
