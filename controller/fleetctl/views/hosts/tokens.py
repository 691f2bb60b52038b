"""Tokens as JSON, as columns and as text. Pure: messages in, values out."""

from __future__ import annotations

from typing import Any

from fleet.v1 import joining_pb2 as joining
from fleetctl.outcome import printable
from fleetctl.tables.column import Column, Kind


def token_json(token: joining.Token, now: float) -> dict[str, Any]:
    return {
        "id": token.id,
        "state": state_of(token, now),
        "uses": token.uses,
        "max_uses": token.max_uses,
        "names": list(token.names),
        "networks": list(token.networks),
        "labels": dict(token.labels),
        "approve": token.approve,
        "created_unix": token.created_unix,
        "expires_unix": token.expires_unix,
        "actor": token.actor,
    }


def tokens_json(answer: joining.ListTokensResponse) -> list[dict[str, Any]]:
    return [token_json(one, answer.now_unix) for one in answer.tokens]


def created_json(text: str, answer: joining.CreateTokenResponse) -> dict[str, Any]:
    """`text`: the token itself, which nobody can be told again."""
    made = token_json(answer.token, answer.token.created_unix)
    return {**made, "token": text, "controllers": list(answer.controllers)}


def how_to_join(answer: joining.CreateTokenResponse) -> str:
    if not answer.controllers:
        return "no controller lets machines join yet: start them with --issuing and --join-listen"
    where = ",".join(answer.controllers)
    return printable(f"on the machine: fleet-agent join --controllers {where} --token-file FILE")


def state_of(token: joining.Token, now: float) -> str:
    """By the leader's clock."""
    if now >= token.expires_unix:
        return "expired"
    return "used" if token.uses >= token.max_uses else "open"


def columns(now: float) -> tuple[Column[joining.Token], ...]:
    return (
        Column("ID", lambda one: one.id, Kind.NAME),
        Column("STATE", lambda one: state_of(one, now), Kind.NAME),
        Column("USES", lambda one: f"{one.uses:,} of {one.max_uses:,}"),
        Column("UNTIL", lambda one: one.expires_unix, Kind.TIME, rank=1),
        Column("FOR", _limits, rank=2),
        Column("LABELS", _labels, rank=3),
        Column("BY", lambda one: one.actor, rank=4),
    )


def _limits(token: joining.Token) -> str:
    return " ".join([*token.names, *token.networks]) or "any host"


def _labels(token: joining.Token) -> str:
    return ",".join(f"{key}={value}" for key, value in sorted(token.labels.items()))
