"""``celeriac completion``: the script with which a shell completes this command line."""

from __future__ import annotations

import click

from celeriac.cli import exits
from celeriac.cli.command import AppCommand
from celeriac.cli.output import say

_EXAMPLES = """
celeriac completion bash >> ~/.bashrc
celeriac completion zsh > ~/.zfunc/_celeriac        # a folder on $fpath
celeriac completion fish > ~/.config/fish/completions/celeriac.fish
"""
VARIABLE = "_CELERIAC_COMPLETE"


@click.command(cls=AppCommand, examples=_EXAMPLES)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> int:
    """Print the script that completes commands and options in a shell."""
    from click.shell_completion import get_completion_class

    from celeriac.cli.root import root

    found = get_completion_class(shell)
    assert found is not None
    say(found(root, {}, "celeriac", VARIABLE).source().rstrip("\n"))
    return exits.OK
