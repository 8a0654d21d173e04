"""A deeper network computes the same until it is trained, and can then be trained everywhere."""

from __future__ import annotations

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM, Qwen3Config, Qwen3ForCausalLM

from tokbench.errors import TokbenchError
from tokbench.lm.deepen import deepened

SIZES = {
    "vocab_size": 40,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
}


def networks() -> list[object]:
    torch.manual_seed(0)
    return [
        LlamaForCausalLM(LlamaConfig(**SIZES, attention_bias=True, mlp_bias=True)),
        Qwen3ForCausalLM(Qwen3Config(**SIZES, head_dim=8, tie_word_embeddings=True)),
    ]


@pytest.mark.parametrize("network", networks(), ids=["llama", "qwen3"])
def test_more_blocks_change_nothing_at_first(network: LlamaForCausalLM) -> None:
    ids = torch.randint(0, 40, (2, 9), generator=torch.Generator().manual_seed(0))
    deeper = deepened(network, 6)
    assert type(deeper) is type(network)
    assert deeper.config.num_hidden_layers == len(deeper.model.layers) == 6
    assert network.config.num_hidden_layers == 2
    with torch.no_grad():
        torch.testing.assert_close(deeper(ids).logits, network(ids).logits, rtol=0, atol=0)
        whole = deeper.generate(ids, max_new_tokens=5, do_sample=False, eos_token_id=None)
        torch.testing.assert_close(whole, network.generate(ids, max_new_tokens=5, do_sample=False, eos_token_id=None))


@pytest.mark.parametrize("network", networks(), ids=["llama", "qwen3"])
def test_blocks_that_were_added_learn(network: LlamaForCausalLM) -> None:
    deeper = deepened(network, 4)
    ids = torch.randint(0, 40, (2, 9), generator=torch.Generator().manual_seed(0))
    optimizer = torch.optim.SGD(deeper.parameters(), lr=0.1)
    for _ in range(2):
        optimizer.zero_grad()
        deeper(ids, labels=ids).loss.backward()
        optimizer.step()
    added = deeper.model.layers[1]
    assert added.self_attn.o_proj.weight.abs().max() > 0
    assert added.mlp.down_proj.weight.abs().max() > 0
    assert added.self_attn.q_proj.weight.grad.abs().max() > 0
    before = network.model.layers[0].self_attn.q_proj.weight
    assert not torch.equal(deeper.model.layers[0].self_attn.q_proj.weight, before)


def test_as_many_blocks_are_the_same_network() -> None:
    network = networks()[0]
    assert deepened(network, 2) is network  # type: ignore[arg-type]


def test_what_cannot_be_deepened_is_refused() -> None:
    network = networks()[0]
    for layers in (3, 1):
        with pytest.raises(TokbenchError, match=f"deepen is a multiple of the 2 blocks that the model has, got {layers}"):
            deepened(network, layers)  # type: ignore[arg-type]
    other = GPT2LMHeadModel(GPT2Config(vocab_size=40, n_embd=16, n_layer=2, n_head=2))
    with pytest.raises(TokbenchError, match="GPT2LMHeadModel is not built like Llama, and cannot be made deeper; leave deepen out"):
        deepened(other, 4)
