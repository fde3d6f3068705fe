"""``completion``: what a shell reads to complete commands, options and keys."""

from __future__ import annotations

import click

from ._output import data, to_json
from .base import command

__all__ = ["completion"]


@click.command("completion", short_help="Set a shell up to complete keys.")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@command
def completion(shell: str, as_json: bool) -> None:
    """Print what makes SHELL complete commands, options and keys.

    \b
    bash:  eval "$(axiom-persistence completion bash)"   in ~/.bashrc
    zsh:   eval "$(axiom-persistence completion zsh)"    in ~/.zshrc
    fish:  axiom-persistence completion fish | source    in ~/.config/fish/config.fish
    """
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    assert kind is not None
    root = click.get_current_context().find_root()
    maker = kind(root.command, {}, "axiom-persistence", "_AXIOM_PERSISTENCE_COMPLETE")
    script = maker.source_template % maker.source_vars()
    data(to_json({"shell": shell, "script": script}) if as_json else script)
