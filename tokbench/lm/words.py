"""A text tokenizer learned from the words of a data set, for models from scratch: frequent words become one id, and any text can be written."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tokbench.errors import missing_extra
from tokbench.feed.dataset import TokenDataset
from tokbench.files import write_text
from tokbench.lm.edits import Edits
from tokbench.lm.mixture import words_of
from tokbench.lm.tasks import DESCRIBE

WORDS = "words"
"""What stands for such a tokenizer where one is chosen; a file of that name is written ``./words``."""

IDS = 512
"""Ids of it at most: the 256 bytes, and what is frequent."""


def learn_words(data: TokenDataset, edits: Edits | None, path: Path) -> None:
    """Learn byte pairs from all captions and instructions, and write the tokenizer as a file.

    Args:
        data: Gives captions, or names of classes.
        edits: Gives instructions.
        path: File to write.

    Raises:
        TokbenchError: If ``tokenizers`` is not installed, or the file cannot be written.
    """
    try:
        from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    except ImportError as error:
        raise missing_extra("tokenizers", "lm", "learning a text tokenizer") from error
    learned = Tokenizer(models.BPE())
    learned.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    learned.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=IDS, initial_alphabet=alphabet, show_progress=False, special_tokens=[])
    learned.train_from_iterator(_texts(data, edits), trainer)
    write_text(path, learned.to_str())


def _texts(data: TokenDataset, edits: Edits | None) -> Iterator[str]:
    yield DESCRIBE
    for row in range(len(data)):
        if text := words_of(data[row], data.label_names):
            yield text
    for index in range(len(edits or ())):
        assert edits is not None
        yield edits.instruction(index)
