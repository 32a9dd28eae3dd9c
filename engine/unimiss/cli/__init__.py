"""The command line: options to settings, settings to the engine, errors to sentences."""

from __future__ import annotations

import logging
import sys

import typer

from unimiss.cli import radiographs, training, using
from unimiss.errors import UnimissError

app = typer.Typer(
    name="unimiss",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    rich_markup_mode=None,  # plain sentences on errors, without boxes
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
for command in (
    training.pretrain,
    training.finetune,
    using.predict,
    using.evaluate,
    radiographs.drr,
    using.info,
    using.demo,
    using.doctor,
):
    app.command()(command)
app.command("import")(using.import_)

_LISTS = {"pretrain": ("--images", "--volumes")}


@app.callback()
def _about() -> None:
    """Universal medical self-supervised learning. Research use only; not a medical device."""


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit: 0 success, 1 a job failed, 2 bad input."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    given = _repeat_options(sys.argv[1:] if arguments is None else arguments)
    try:
        app(given, prog_name="unimiss")
    except UnimissError as error:
        sys.stderr.write(f"unimiss: {error}\n")
        sys.exit(error.exit_code)


def _repeat_options(arguments: list[str]) -> list[str]:
    """Let list options take several values: ``--images a b`` means ``--images a --images b``."""
    lists = _LISTS.get(arguments[0], ()) if arguments else ()
    out: list[str] = []
    current, taken = "", 0
    for argument in arguments:
        if argument.startswith("-"):
            current, taken = (argument if argument in lists else ""), 0
        elif current:
            taken += 1
            if taken > 1:
                out.append(current)
        out.append(argument)
    return out
