"""Tokens by which machines join: made, listed, revoked. The leader never sees a secret before a
host shows it."""

from __future__ import annotations

from fleet.v1 import joining_pb2 as joining
from fleet_controller.core.joining.admission import check_new
from fleet_controller.core.joining.records import TokenRecord
from fleet_controller.core.names import counted
from fleet_controller.core.refusals import Reason, Refused
from fleet_controller.leader.memory import LeaderMemory
from fleet_controller.leader.writer import ChangeWriter
from fleet_controller.mirror.records import Write, delete_token, put_token

# One that has ended is shown for so long, so that whoever asks why a host was refused finds it.
KEPT_SECONDS = 7 * 86_400.0
_PRUNED_AT_ONCE = 50


class Tokens:
    """Of one leadership. All raise Refused and StoreError."""

    def __init__(self, memory: LeaderMemory, writer: ChangeWriter) -> None:
        self._memory = memory
        self._writer = writer

    async def create(self, request: joining.CreateTokenRequest, actor: str) -> TokenRecord:
        """Asked for again, it is as it was made."""
        now, asked = self._memory.events.now(), request.token
        made = TokenRecord(
            asked.id, request.secret_hash.hex(), now, now + request.ttl_seconds, asked.max_uses,
            0, tuple(asked.names), tuple(asked.networks), dict(asked.labels), asked.approve, actor,
        )  # fmt: skip

        async def once() -> tuple[TokenRecord, bool]:
            tokens = self._memory.state.tokens
            if have := tokens.get(made.id):
                if have.hash == made.hash:
                    return have, False
                raise Refused(Reason.TOKEN_EXISTS, f"there is a token {made.id} already")
            ended = [one for one in tokens.values() if one.expires + KEPT_SECONDS < now]
            check_new(made, request.ttl_seconds, request.secret_hash, len(tokens) - len(ended))
            line = self._writer.audited("token", actor, after=described(made))
            old: list[Write] = [delete_token(one.id) for one in ended[:_PRUNED_AT_ONCE]]
            await self._writer.write_one([put_token(made), line, *old])
            return made, True

        record, new = await self._writer.decide(once)
        if new:
            text = f"token {record.id} is made: {described(record)}"
            self._memory.events.add("token_created", text, actor=actor)
        return record

    async def revoke(self, token_id: str, actor: str) -> TokenRecord:
        """Nobody joins by it any more, from the answer on; whoever has joined stays."""

        async def once() -> TokenRecord:
            have = self._memory.state.tokens.get(token_id)
            if have is None:
                raise Refused(Reason.NO_SUCH_TOKEN, f"there is no token {token_id[:40]!r}")
            line = self._writer.audited("revoke_token", actor, before=described(have))
            await self._writer.write_one([delete_token(token_id), line])
            return have

        record = await self._writer.decide(once)
        self._memory.events.add("token_revoked", f"token {token_id} is revoked", actor=actor)
        return record


def described(token: TokenRecord) -> str:
    """In a few words, for people; without anything secret."""
    limits = [*token.names, *token.networks]
    only = f", for {' '.join(limits)}" if limits else ""
    labels = "".join(f", {key}={value}" for key, value in sorted(token.labels.items()))
    return f"{token.id}, {counted(token.max_uses, 'use')}{only}{labels}"


def wire_token(token: TokenRecord) -> joining.Token:
    return joining.Token(
        id=token.id,
        names=token.names,
        networks=token.networks,
        max_uses=token.max_uses,
        uses=token.uses,
        created_unix=token.created,
        expires_unix=token.expires,
        labels=token.labels,
        approve=token.approve,
        actor=token.actor,
    )
