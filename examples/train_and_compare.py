"""Train a tokenizer with a quantizer of your choice and compare it with one of the zoo, image by image.

    python train_and_compare.py [STEPS [QUANTIZER [LIMIT]]]

The few steps that are taken without STEPS only show the way. LIMIT is how many images are measured. Writes trained/ and runs/.
"""

import sys
from pathlib import Path

import tokbench
from tokbench.data.open import open_training_source
from tokbench.report.diff import diff_records
from tokbench.train.options import TrainOptions
from tokbench.train.recipes import get_recipe
from tokbench.train.start import adjusted, train_recipe


def main(steps: str = "12", quantizer: str = "fsq", limit: str = "64") -> None:
    settings = {"quantizer": quantizer, "losses.codebook": None, "warmup": 4, "ema_decay": 0.8}  # all that --set reaches
    recipe = adjusted(get_recipe("vqvae-tiny"), settings, steps=int(steps))
    trained = train_recipe(recipe, open_training_source("photos"), TrainOptions(Path("trained")))
    print(f"trained {trained.steps} steps: {trained.weights}")

    theirs, mine = (tokbench.run(name, "photos", limit=int(limit), metrics="lpips,psnr") for name in ("vqvae", "trained"))
    for evaluation in (theirs, mine):
        tokbench.write_record(evaluation.record, evaluation.rows, "runs")

    for change in diff_records(theirs.record, mine.record, theirs.rows, mine.rows).changes:
        if change.interval is not None:
            print(f"{change.key}: {change.before:.4f} -> {change.after:.4f}, {change.verdict} by {change.why}")


if __name__ == "__main__":
    main(*sys.argv[1:])
