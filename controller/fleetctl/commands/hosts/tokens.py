"""fleetctl tokens: by which machines join as hosts."""

from __future__ import annotations

import click

from fleetctl.cli.arguments import label as label_of
from fleetctl.cli.arguments import span
from fleetctl.cli.lazy_group import ListingGroup
from fleetctl.output import say, say_json
from fleetctl.session import (
    Session,
    cluster_options,
    connection_options,
    list_options,
    pass_session,
)


@click.group(cls=ListingGroup)
def tokens() -> None:
    """Tokens by which machines join as hosts. Without a command: list.

    A token is given to a machine, which makes its own key and gets its certificate for it:
    'fleet-agent join --controllers HOST:PORT --token-file FILE'. It is shown once, when it is
    made: the cluster keeps a hash of it.
    """


@tokens.command("create")
@click.option(
    "--name",
    "names",
    metavar="PATTERN",
    multiple=True,
    help="Only for hosts called so, such as 'dom0-*'; may be given several times.",
)
@click.option(
    "--cidr",
    "networks",
    metavar="NETWORK",
    multiple=True,
    help="Only from there, such as 10.1.0.0/16; may be given several times.",
)
@click.option(
    "--uses",
    type=click.IntRange(1, 100_000),
    default=1,
    show_default=True,
    help="How many hosts may join by it.",
)
@click.option(
    "--ttl",
    default="24h",
    show_default=True,
    metavar="TIME",
    callback=lambda c, p, v: span(v),
    help="How long it is good, such as 90m, 24h or 7d.",
)
@click.option(
    "--label",
    "labels",
    metavar="NAME=VALUE",
    multiple=True,
    help="A label that its hosts get; may be given several times.",
)
@click.option(
    "--approve",
    is_flag=True,
    help="Its hosts need no further approval where controllers ask for one (--approve-hosts).",
)
@cluster_options
@pass_session
def create(
    session: Session,
    names: tuple[str, ...],
    networks: tuple[str, ...],
    uses: int,
    ttl: float,
    labels: tuple[str, ...],
    approve: bool,
) -> None:
    """Make a token, and print it: whoever has it may join. Nothing else is printed to stdout."""
    connection = session.cluster
    import secrets

    from fleet.certificates import join_token
    from fleet.v1 import joining_pb2 as joining
    from fleetctl.views.hosts.tokens import created_json, how_to_join

    secret = secrets.token_bytes(join_token.SECRET_BYTES)
    asked = joining.Token(
        id=join_token.token_id(secrets.token_bytes(join_token.ID_BYTES)),
        names=names,
        networks=networks,
        max_uses=uses,
        labels=dict(map(label_of, labels)),
        approve=approve,
    )
    request = joining.CreateTokenRequest(
        token=asked, secret_hash=bytes.fromhex(join_token.hash_of(secret)), ttl_seconds=ttl
    )
    answer = connection.change(lambda stub: stub.CreateToken, request, again=True)
    token = join_token.JoinToken(answer.token.id, secret, answer.authority)
    if session.json:
        say_json(created_json(token.text, answer))
        return
    say(token.text)
    click.echo(how_to_join(answer), err=True)


@tokens.command("list")
@list_options
@connection_options
@pass_session
def list_tokens(session: Session) -> None:
    """List tokens, without what is secret of them."""
    connection = session.cluster
    from fleet.v1 import joining_pb2 as joining
    from fleetctl.tables.answer import ListAnswer
    from fleetctl.tables.listing import say_list
    from fleetctl.views.hosts.tokens import columns, tokens_json

    answer = connection.call(lambda stub: stub.ListTokens, joining.ListTokensRequest())
    found = ListAnswer(
        columns(answer.now_unix),
        answer.tokens,
        lambda: {"tokens": tokens_json(answer)},
        "There is none.",
    )
    say_list(found, session.listing)


@tokens.command("revoke")
@click.argument("token_id", metavar="ID")
@cluster_options
@pass_session
def revoke(session: Session, token_id: str) -> None:
    """Let nobody join by a token any more. Hosts that have joined by it stay."""
    connection = session.cluster
    from fleet.v1 import joining_pb2 as joining

    request = joining.RevokeTokenRequest(id=token_id)
    answer = connection.change(lambda stub: stub.RevokeToken, request)
    if session.json:
        say_json({"id": token_id, "uses": answer.token.uses})
    else:
        say(f"token {token_id} is revoked; {answer.token.uses:,} had joined by it")
