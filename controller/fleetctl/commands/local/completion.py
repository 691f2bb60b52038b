"""fleetctl completion: what a shell loads to complete fleetctl's commands and options."""

from __future__ import annotations

import click

from fleetctl.output import say


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the completion of a shell: of commands, options, and the cluster's own names.

    \b
    fleetctl completion bash > ~/.local/share/bash-completion/completions/fleetctl
    fleetctl completion zsh > "${fpath[1]}/_fleetctl"
    fleetctl completion fish > ~/.config/fish/completions/fleetctl.fish
    """
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    assert kind is not None  # the choices above are click's own
    say(kind(ctx.find_root().command, {}, "fleetctl", "_FLEETCTL_COMPLETE").source())
