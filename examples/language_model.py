"""Feed tokens to a language model: export them, train a small transformer on sequences, and let it draw.

    python language_model.py [IMAGES [STEPS]]

IMAGES is what --data takes; without it, the embedded photos. The few steps taken without STEPS only show the way. Writes tokens/ and drawn.png.
"""

import itertools
import math
import sys

import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader

import tokbench
from tokbench import DiscreteTokens
from tokbench.feed import (
    ByteText,
    ConstrainedDecoding,
    ImageGrammar,
    TokenDataset,
    Vocabulary,
    build,
    identify,
    labels,
    loss_mask,
    parse,
    prompt,
)
from tokbench.feed.export import export

IMAGES, HELD_OUT, BATCH = 200, 24, 8


class SmallTransformer(nn.Module):
    """A decoder of two layers; any model that gives logits of ids can take its place."""

    def __init__(self, ids: int, length: int, width: int = 64) -> None:
        super().__init__()
        self.ids, self.places = nn.Embedding(ids, width), nn.Embedding(length, width)
        layer = nn.TransformerEncoderLayer(width, 2, 4 * width, dropout=0.0, batch_first=True, norm_first=True)
        self.layers = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(width, ids)

    def forward(self, ids: Tensor) -> Tensor:
        """Logits ``[B, T, ids]`` of the id behind each of ``[B, T]``."""
        hidden = self.ids(ids) + self.places(torch.arange(ids.shape[1]))
        return self.head(self.layers(hidden, mask=nn.Transformer.generate_square_subsequent_mask(ids.shape[1]), is_causal=True))


def loss_of(model: nn.Module, codes: Tensor, grid: tuple[int, ...], vocabulary: Vocabulary) -> Tensor:
    """Mean cross entropy of the codes of a batch ``[B, L, K]``, in nats a code."""
    sequences = [build([DiscreteTokens(image[None], grid, vocabulary.codebook_sizes)], vocabulary) for image in codes]
    ids = torch.stack([sequence.ids for sequence in sequences])
    mask = torch.stack([loss_mask(sequence, vocabulary, only="vision") for sequence in sequences])
    return cross_entropy(model(ids[:, :-1]).transpose(1, 2), labels(ids, mask)[:, 1:])


@torch.no_grad()
def draw(model: nn.Module, vocabulary: Vocabulary, grid: tuple[int, ...]) -> DiscreteTokens:
    """Sample one image; the grammar leaves the model no way but to finish it."""
    allow = ConstrainedDecoding(ImageGrammar(vocabulary, [grid]))
    ids = prompt([], vocabulary, grid=grid).ids[None]
    while ids[0, -1] != vocabulary.special.eos:
        scores = allow(ids, model(ids)[:, -1])
        ids = torch.cat([ids, torch.multinomial(scores.softmax(dim=-1), 1)], dim=1)
    (image,) = parse(ids[0], vocabulary)
    assert isinstance(image, DiscreteTokens)
    return image


def main(images: str = "photos/train", steps: str = "80") -> None:
    torch.manual_seed(0)
    tokenizer = tokbench.load("vqgan")
    export(tokenizer, images, "tokens", protocol=tokbench.get_protocol(changes={"samples": IMAGES}))

    rows = TokenDataset("tokens")  # rows[0]["codes"] is int64 [L, K]
    held_out = torch.stack([rows[index]["codes"] for index in range(HELD_OUT)])
    training = torch.utils.data.Subset(rows, range(HELD_OUT, len(rows)))
    loader = DataLoader(training, BATCH, shuffle=True, drop_last=True, generator=torch.Generator().manual_seed(0))

    vocabulary = Vocabulary.over(ByteText(), rows.job.layout, identify(tokenizer))
    length = len(build([DiscreteTokens(held_out[:1], rows.grid, rows.codebook_sizes)], vocabulary).ids)
    model = SmallTransformer(vocabulary.size, length)
    optimizer = torch.optim.AdamW(model.parameters(), 3e-3)
    step = 0
    while step < int(steps):
        for batch in itertools.islice(loader, int(steps) - step):
            loss = loss_of(model, batch["codes"], rows.grid, vocabulary)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            step += 1
            if step % 20 == 0 or step == int(steps):
                print(f"step {step}: {loss.item() / math.log(2):.2f} bits a code")

    model.eval()
    with torch.no_grad():
        bits = loss_of(model, held_out, rows.grid, vocabulary).item() / math.log(2)
    print(f"held-out images: {bits:.2f} bits a code, {math.log2(rows.codebook_sizes[0]):.0f} if all were equally likely")

    picture = tokbench.to_uint8(tokenizer.decode(draw(model, vocabulary, rows.grid)))  # uint8 [1, 3, H, W]
    Image.fromarray(picture[0].permute(1, 2, 0).numpy()).save("drawn.png")
    print("wrote drawn.png")


if __name__ == "__main__":
    main(*sys.argv[1:])
