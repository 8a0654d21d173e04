"""Pairs out of a model's own images: several for the same words, ranked by a reward after decoding, the best and the worst kept."""

from __future__ import annotations

import hashlib
import heapq
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from tokbench.bench.identity import weights_digest
from tokbench.configs import canonical_json, plain
from tokbench.files import atomic_file
from tokbench.lm.asking import image_of, request_of
from tokbench.lm.decoding import pixels_of
from tokbench.lm.model import LanguageModel
from tokbench.lm.options import SamplingOptions
from tokbench.lm.preferences import PAIRS, line_of
from tokbench.lm.prompts import times_before
from tokbench.lm.recipes import Preferences
from tokbench.lm.reward import Reward
from tokbench.lm.sampling import sample
from tokbench.ranks import Ranks
from tokbench.tokenizers.base import Tokenizer
from tokbench.tokens import DiscreteTokens

AT_ONCE = 128
"""Prompts that are sampled before their images are ranked; prompts of one length are read together, so that few make part-filled batches."""

SEQUENCES = 32
"""Images that are drawn together."""


def draw(
    model: LanguageModel, prompts: Sequence[str], preferences: Preferences, *, times: Sequence[int] | None = None, seed: int
) -> list[list[DiscreteTokens]]:
    """Draw several images for each prompt.

    Args:
        model: What draws.
        prompts: Words.
        preferences: How many images, and how they are sampled.
        times: How often each prompt was drawn before, so that its images are others now; None is never.
        seed: Seed of all of them; an image does not depend on which others are drawn.

    Returns:
        The images of each prompt, one image each.

    Raises:
        TokbenchError: If the text tokenizer cannot write a prompt, or it is too long for the model.
    """
    guidance = model.guidance if preferences.guidance is None else preferences.guidance
    options = SamplingOptions(preferences.temperature, preferences.top_k or None, guidance=guidance, batch_size=SEQUENCES)
    requests = [
        request_of(model, "generate", text=prompt, seed=seed, number=time * preferences.samples + number)
        for prompt, time in zip(prompts, times or [0] * len(prompts), strict=True)
        for number in range(preferences.samples)
    ]
    drawn = [image_of(model, *pair) for pair in zip(requests, sample(model, requests, options), strict=True)]
    return [drawn[start : start + preferences.samples] for start in range(0, len(drawn), preferences.samples)]


def rank(
    model: LanguageModel,
    tokenizer: Tokenizer,
    prompts: Sequence[str],
    preferences: Preferences,
    reward: Reward,
    folder: Path,
    *,
    judge: str = "",
    seed: int,
    ranks: Ranks,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> None:
    """Write this process's share of the pairs, which ``merge`` then puts together.

    A pair is the image of the highest reward and the one of the lowest, where these differ by more than the margin. Rewards are taken after
    decoding, so that they see what a person sees. What was ranked before a kill is not drawn again.

    Args:
        model: What draws; ready to evaluate.
        tokenizer: Decodes what it draws.
        prompts: Words, the same in all processes.
        preferences: How many images, how they are sampled, and the margin.
        reward: Judges an image by its words.
        folder: Where the file goes.
        judge: What the reward is, see ``judge_of``; ranks of another one do not count.
        seed: Seed of all images.
        ranks: Which process of how many this is.
        progress: Called with prompts done and in all.

    Raises:
        TokbenchError: As ``draw``, or if the reward fails.
    """
    times = times_before(prompts)
    mine = range(ranks.rank, len(prompts), ranks.world_size)
    size, part = tokenizer.layout(*model.image_size).cut_size, _part(folder, ranks.rank)
    key = ranked_by(model, prompts, preferences, judge=judge, seed=seed)[:16]
    with atomic_file(part) as file:
        for start in range(0, len(mine), AT_ONCE):
            block = part.with_name(f"{part.name}.{start}.{ranks.world_size}.{key}")
            if not block.is_file():
                numbers = mine[start : start + AT_ONCE]
                asked, before = [prompts[number] for number in numbers], [times[number] for number in numbers]
                drawn = draw(model, asked, preferences, times=before, seed=seed)
                pictures = pixels_of([replace(image, image_size=size) for images in drawn for image in images], tokenizer)
                with atomic_file(block) as ranked:
                    for number, images in zip(numbers, drawn, strict=True):
                        scores = [reward(prompts[number], next(pictures)) for _ in images]
                        ranked.write(_line(prompts[number], number, images, scores, preferences.margin).encode())
            file.write(block.read_bytes())
            progress(min(start + AT_ONCE, len(mine)), len(mine))
    for block in folder.glob(f"{part.name}.*"):
        block.unlink()


def ranked_by(model: LanguageModel, prompts: Sequence[str], preferences: Preferences, *, judge: str, seed: int) -> str:
    """Digest whatever ranks follow from; arguments are those of ``rank``."""
    about = [weights_digest(model.network), list(prompts), plain(preferences), judge, seed]
    return hashlib.sha256(canonical_json(about).encode()).hexdigest()


def _line(prompt: str, number: int, images: Sequence[DiscreteTokens], scores: Sequence[float], margin: float) -> str:
    """The best and the worst image of a prompt; their mean reward alone where they do not differ by more than the margin."""
    best, worst = scores.index(max(scores)), scores.index(min(scores))
    mean = sum(scores) / len(scores)
    if not scores[best] - scores[worst] > margin:
        return json.dumps({"mean": mean, "number": number}) + "\n"
    sides = (images[best].codes.flatten().tolist(), images[worst].codes.flatten().tolist())
    return line_of(prompt, *sides, chosen_score=scores[best], rejected_score=scores[worst], mean=mean, number=number)


def merge(folder: Path, ranks: Ranks) -> tuple[int, float]:
    """Put the shares of all processes together, in the order of the prompts.

    Args:
        folder: Where they lie; the pairs go there too.
        ranks: How many processes there were.

    Returns:
        How many pairs there are, and the mean reward of all images.
    """
    count, prompts, total = 0, 0, 0.0
    with ExitStack() as files, atomic_file(folder / PAIRS) as out:
        parts = [_numbered(files.enter_context(_part(folder, rank).open("rb"))) for rank in range(ranks.world_size)]
        for _, line in heapq.merge(*parts):
            values = json.loads(line)
            prompts += 1
            total += values["mean"]
            if "prompt" in values:
                out.write(line)
                count += 1
    for part in folder.glob(f".{PAIRS}.*"):  # those of another number of processes, which were killed, among them
        part.unlink()
    return count, total / max(1, prompts)


def _numbered(lines: Iterator[bytes]) -> Iterator[tuple[int, bytes]]:
    for line in lines:
        yield json.loads(line)["number"], line


def _part(folder: Path, number: int) -> Path:
    return folder / f".{PAIRS}.{number}"
