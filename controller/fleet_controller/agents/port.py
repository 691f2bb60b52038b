"""The port through which the leader speaks to agents, and what can go wrong on it."""

from __future__ import annotations

from typing import NamedTuple, Protocol, TypeVar

from fleet.certificates.authorities import digest_of_trust
from fleet.term_claims import term_heard
from fleet.transport import Refusal
from fleet.v1 import agent_pb2 as wire
from fleet.v1 import commands_pb2 as commands
from fleet.v1 import copies_pb2 as copies
from fleet.v1 import joining_pb2 as joining
from fleet.v1 import types_pb2 as types

Answer = TypeVar("Answer", covariant=True)
Said = TypeVar("Said", contravariant=True)


class LinkError(Exception):
    """The agent did not do as asked; one sentence. Try again later."""


class Unreachable(LinkError):
    """No answer in time, no connection, a call that has ended, or a certificate that does not
    name this host."""


class EndedHere(Unreachable):
    """This end has ended the call, as when the host was silent for too long."""


class Misbehaved(Unreachable):
    """The agent sends what no agent may: too much, too fast, or what makes no sense."""


class NoAnswer(Unreachable):
    """No answer in time: what was asked may still be done."""


class Declined(LinkError):
    """The agent was reached and does not do it: its ledger is full, or the request is wrong.

    `answer`: the agent's own words and reason, for whoever asked through the leader.
    """

    def __init__(self, message: str, answer: Refusal | None = None) -> None:
        super().__init__(message)
        self.answer = answer


class NotOffered(Declined):
    """The agent does not know this call, or knows it and cannot do it: it is older than this."""


class StaleTerm(Declined):
    """The agent has heard a newer leader, it says."""

    @property
    def heard(self) -> types.Term:
        """Of which term, with its seal; an empty one where it does not say."""
        return term_heard(self.answer.metadata or {}) if self.answer else types.Term()


class AheadOfStore(Declined):
    """The agent holds a newer assignment than the store: the store was restored or replaced."""


class Guidance(NamedTuple):
    """Where controllers are, and what hosts are to hold by now; None: nothing is renewed."""

    controllers: tuple[str, ...] = ()
    trust: joining.Trust | None = None

    def adds_to(self, before: Guidance) -> bool:
        """Whether a host that was told the other has to be told this. Whoever is away for a moment
        is not: hosts remember it."""
        new = set(self.controllers) - set(before.controllers)
        return bool(new) or _held(self.trust) != _held(before.trust)


def _held(trust: joining.Trust | None) -> bytes:
    return digest_of_trust(trust) if trust is not None else b""


NO_GUIDANCE = Guidance()


class Reports(Protocol):
    """The reports of one Watch call."""

    async def read(self) -> wire.Report:
        """The next one. Raises LinkError when the stream has ended. Cancelling ends the call."""

    async def repace(self, pace: wire.Pace, guidance: Guidance = NO_GUIDANCE) -> None:
        """Ask for another pace, and tell what hosts are told beside. Raises LinkError."""

    def cancel(self) -> None:
        """End the call; a pending read raises."""


class Answers(Protocol[Answer]):
    """What an agent answers to one question, bit by bit."""

    async def read(self) -> Answer | None:
        """The next one; None when the agent has said all. Raises LinkError. Cancelling ends the
        call."""

    def cancel(self) -> None:
        """End the call; a pending read raises."""


class Talk(Answers[Answer], Protocol[Said, Answer]):
    """Both sides speak when they like."""

    async def write(self, said: Said) -> None:
        """Returns when it is on its way. Raises LinkError."""

    async def done_writing(self) -> None:
        """Nothing more is said. Raises LinkError."""


ConsoleTalk = Talk[wire.ConsoleInput, wire.ConsoleOutput]
RelayTalk = Talk[wire.RelayOrder, wire.RelayState]
CopyTalk = Talk[copies.CopyIntoVmsRequest, commands.RunInVmsAnswer]
UploadTalk = Talk[wire.PutImageRequest, wire.PutImageAnswer]


class Questions(Protocol):
    """What operators ask of one agent. All raise LinkError; `seconds` bounds the waiting."""

    async def doctor(self, request: wire.DoctorRequest, seconds: float) -> wire.DoctorResponse: ...

    async def tune(self, request: wire.TuneRequest, seconds: float) -> wire.TuneResponse: ...

    async def list_images(
        self, request: wire.ListImagesRequest, seconds: float
    ) -> wire.ListImagesResponse: ...

    async def delete_image(
        self, request: wire.DeleteImageRequest, seconds: float
    ) -> wire.DeleteImageResponse: ...

    async def upgrade_agent(
        self, request: wire.UpgradeAgentRequest, seconds: float
    ) -> wire.UpgradeAgentResponse: ...

    def import_image(
        self, request: wire.ImportImageRequest
    ) -> Answers[wire.ImportImageProgress]: ...

    def top(self, request: wire.TopRequest) -> Answers[wire.TopSample]: ...

    def console(self) -> ConsoleTalk: ...

    def send_image(self, request: wire.SendImageRequest) -> Answers[wire.ImageChunk]: ...

    def relay_image(self) -> RelayTalk: ...

    def put_image(self) -> UploadTalk: ...

    def run_in_vms(self, request: commands.RunInVmsRequest) -> Answers[commands.RunInVmsAnswer]: ...

    def copy_into_vms(self) -> CopyTalk: ...

    def copy_from_vms(
        self, request: copies.CopyFromVmsRequest
    ) -> Answers[copies.CopyFromVmsAnswer]: ...


class AgentConnection(Protocol):
    """One connection to one agent."""

    def watch(self, first: wire.WatchRequest) -> Reports: ...

    async def assign(self, request: wire.AssignRequest, seconds: float) -> wire.AssignResponse:
        """Raises LinkError, after at most `seconds`."""

    async def reset(self, request: wire.ResetRequest, seconds: float) -> wire.ResetResponse:
        """Raises LinkError, after at most `seconds`."""

    async def describe(self, seconds: float) -> None:
        """Return when the agent says anything of itself, after at most `seconds`. No term is told.
        Raises LinkError: Declined is the agent's own word too."""

    def questions(self) -> Questions:
        """For a question or two: made when asked, and not to be kept."""

    async def close(self) -> None: ...


class AgentDialer(Protocol):
    """Makes connections. Cheap: nothing is sent until the first call."""

    def connect(self, host_id: str, address: str) -> AgentConnection:
        """Raises Unreachable when this end can hold no more of them."""
