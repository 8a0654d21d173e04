"""What a record says of the tokenizer: its identity when it was measured."""

from __future__ import annotations

from tokbench.bench.identity import identity_of, number_formats, training_of_tokenizer
from tokbench.records.record import TokenizerInfo, TrainingSetInfo
from tokbench.tokenizers.base import Tokenizer


def tokenizer_info(tokenizer: Tokenizer) -> TokenizerInfo:
    """Describe a tokenizer as it is now.

    Raises:
        Misbehaved: If it is a plug-in whose code fails, or whose configuration no record can hold.
    """
    identity, training = identity_of(tokenizer), training_of_tokenizer(tokenizer)
    return TokenizerInfo(
        name=identity.name,
        config=identity.config,
        weights_sha256=identity.weights_sha256,
        parameters=sum(p.numel() for p in tokenizer.parameters()),
        trained_with=training.used,
        weights_how=tokenizer.weights_how,
        state_sha256=identity.state_sha256,
        source_sha256=identity.source_sha256,
        package=identity.package,
        number_format=number_formats(tokenizer) or None,
        settings=dict(identity.settings),
        training_sets=tuple(TrainingSetInfo(item.name, item.count, item.digest) for item in training.sets),
    )
