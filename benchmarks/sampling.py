"""What keeping keys and values brings to sampling, and what whole images cost: ratios of times measured in turns within one run.

A Llama of random weights draws images of 16 x 16 codes, 16 at once. Run by hand: ``python benchmarks/sampling.py``; ``--device cuda``
measures there, and ``--write`` puts the figures into README.md. Recomputing reads the whole sequence for every id, as sampling without a cache does. Free sampling draws among all ids with
the same loop and as many calls of the network, and its sequences are no images.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from readme import Block, machine
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM

from tokbench.feed import ByteText, ConstrainedDecoding, ImageGrammar, Vocabulary
from tokbench.feed.job import TokenizerIdentity
from tokbench.layout import TokenLayout
from tokbench.lm.choice import choose
from tokbench.lm.model import LanguageModel
from tokbench.lm.options import SamplingOptions
from tokbench.lm.reading import Reader
from tokbench.lm.sampling import Request, sample
from tokbench.lm.tasks import prompt_of

SIDE, CODES = 16, 1024
WORDS = "a small red circle left of a large blue square"


def model_of(hidden: int, layers: int, device: str) -> LanguageModel:
    """A model of random weights for images of SIDE x SIDE codes of CODES."""
    vocabulary = Vocabulary.over(ByteText(), TokenLayout((128, 128), (SIDE, SIDE), (CODES,)), TokenizerIdentity("none", {}, None))
    heads = max(1, hidden // 32)
    config = LlamaConfig(
        vocab_size=vocabulary.size,
        hidden_size=hidden,
        intermediate_size=hidden * 8 // 3,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=heads,
        bos_token_id=None,
        eos_token_id=None,  # generate goes on to the last id that is asked for
        pad_token_id=vocabulary.special.pad,
    )
    torch.manual_seed(0)
    return LanguageModel(LlamaForCausalLM(config).eval().to(device), vocabulary, (128, 128), (SIDE, SIDE))


@torch.no_grad()
def free(model: LanguageModel, prompt: list[int], batch: int, count: int) -> Tensor:
    """Draw ids among all, each from what was kept; gives the ids."""
    reader = Reader(model.network, [prompt] * batch)
    draws = torch.rand(batch, count, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    rows = []
    for step in range(count):
        rows.append(choose(reader.scores(), draws[:, step], SamplingOptions())[:, None])
        reader.add(rows[-1])
    return torch.cat(rows, dim=1)


@torch.no_grad()
def recomputed(model: LanguageModel, prompt: list[int], batch: int, count: int) -> Tensor:
    """Draw the same ids by reading everything anew for each."""
    rows = torch.tensor([prompt] * batch)
    draws = torch.rand(batch, count, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    for step in range(count):
        scores = model.network(rows.to(model.device), use_cache=False, logits_to_keep=1).logits[:, -1].double().cpu()
        rows = torch.cat([rows, choose(scores, draws[:, step], SamplingOptions())[:, None]], dim=1)
    return rows[:, len(prompt) :]


@torch.no_grad()
def largest_difference(model: LanguageModel, prompt: list[int], drawn: Tensor) -> float:
    """Largest difference of logits between reading step by step and reading everything at once."""
    reader = Reader(model.network, [prompt] * len(drawn))
    rows = torch.cat([torch.tensor([prompt] * len(drawn)), drawn], dim=1)
    whole = model.network(rows.to(model.device), use_cache=False).logits.double().cpu()
    largest = 0.0
    for step in range(drawn.shape[1]):
        largest = max(largest, float((reader.scores() - whole[:, len(prompt) - 1 + step]).abs().max()))
        reader.add(drawn[:, step : step + 1])
    return largest


def generated(model: LanguageModel, prompt: list[int], batch: int, count: int, *, constrained: bool) -> None:
    """``generate`` of transformers, with the logits processor or without."""
    rows = torch.tensor([prompt] * batch, device=model.device)
    processors = [ConstrainedDecoding(ImageGrammar(model.vocabulary, [model.grid]))] if constrained else []
    model.network.generate(
        rows,
        attention_mask=torch.ones_like(rows),
        logits_processor=processors,
        do_sample=True,
        top_k=0,
        max_new_tokens=count,
    )


def clock(device: str) -> Callable[[], float]:
    """Processor time of all threads, which others on the machine do not change much; on other devices the time on the wall."""
    return time.process_time if device == "cpu" else time.perf_counter


def in_turns(actions: dict[str, Callable[[], object]], repeats: int, now: Callable[[], float]) -> dict[str, float]:
    """Median seconds of each action, after one run of each that does not count."""
    for action in actions.values():
        action()
    times: dict[str, list[float]] = {name: [] for name in actions}
    for _ in range(repeats):
        for name, action in actions.items():
            start = now()
            action()
            times[name].append(now() - start)
    return {name: statistics.median(values) for name, values in times.items()}


def main() -> None:
    """Measure, and print a line for each figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=16, help="sequences at once [16]")
    parser.add_argument("--hidden", type=int, default=192, help="width of the network [192]")
    parser.add_argument("--layers", type=int, default=4, help="layers of the network [4]")
    parser.add_argument("--repeats", type=int, default=3, help="times that count, of which the median is taken [3]")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--write", action="store_true", help="put the figures into README.md")
    args = parser.parse_args()
    block = Block("sampling", "Sampling with keys and values kept", write=args.write)
    model, count = model_of(args.hidden, args.layers, args.device), SIDE * SIDE
    prompt = prompt_of("generate", model.vocabulary, text=WORDS, grid=model.grid)
    requests = [Request(prompt, seed) for seed in range(args.batch)]
    block.say(
        f"{machine()}. {args.batch} x {count} ids behind {len(prompt)}; width {args.hidden}, {args.layers} layers, on {args.device}.\n"
    )

    now = clock(args.device)
    start = now()
    anew = recomputed(model, prompt, args.batch, count)
    slow = now() - start
    options = SamplingOptions(batch_size=args.batch)
    fast = in_turns(
        {
            "free": lambda: free(model, prompt, args.batch, count),
            "whole images": lambda: sample(model, requests, options),
            "generate": lambda: generated(model, prompt, args.batch, count, constrained=False),
            "generate, constrained": lambda: generated(model, prompt, args.batch, count, constrained=True),
        },
        args.repeats,
        now,
    )
    kept = free(model, prompt, args.batch, count)
    ids = args.batch * count
    block.say(
        f"- recomputing: {ids / slow:.0f} ids/s; with what was kept: {ids / fast['free']:.0f} ids/s, {slow / fast['free']:.1f} times as many"
    )
    block.say(
        f"- largest difference of logits {largest_difference(model, prompt, kept):.1e}; {float((kept == anew).double().mean()):.2%} of ids equal"
    )
    block.say(f"- whole images take {fast['whole images'] / fast['free'] - 1:+.1%} of the time of free sampling")
    block.say(f"- ConstrainedDecoding takes {fast['generate, constrained'] / fast['generate'] - 1:+.1%} of the time of generate without it")
    block.end()


if __name__ == "__main__":
    main()
