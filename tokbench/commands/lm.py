"""The group of commands about a language model that draws, edits and reads."""

from __future__ import annotations

import typer

from tokbench.commands.lm_draw import complete, describe, edit, generate
from tokbench.commands.lm_evaluate import evaluate
from tokbench.commands.lm_train import train

lm_app = typer.Typer(help="One model that draws, edits and describes images, and the stages that train it.", rich_markup_mode=None)
for _command in (train, generate, edit, complete, describe, evaluate):
    lm_app.command()(_command)
