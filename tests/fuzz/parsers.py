"""The parsers that read what others wrote: each as a function of bytes.

A target returns for what it understands and for what it refuses in the way that its contract says;
whatever else it raises is a finding.
"""

from __future__ import annotations

import binascii
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

from fleet.endpoints import BadEndpoint, dialled, listened
from fleet.keys import Term
from fleet.peers import NoRole, parse_peer, peer_of
from fleet.ranges import IndexSet, parse_ranges
from fleet.spec import check_spec
from fleet.template.user_data import BadUserData, UserData
from fleet.transport import Role
from fleet.v1 import agent_pb2 as wire
from fleet.v1 import types_pb2 as types
from fleet_agent.core.assignment import BadAssignment, parse_assignment
from fleet_agent.core.console_log import LogPosition
from fleet_agent.core.image_formats import HEAD_BYTES, TAIL_BYTES, recognised
from fleet_agent.core.images import QCOW2_HEADER_BYTES, BadImage, qcow2_size
from fleet_agent.drivers.consoles.file import end_of, glance
from fleet_controller.core.audit import AuditRecord
from fleet_controller.core.events.event_ring import EventRecord, event_of
from fleet_controller.core.hosts import announced
from fleet_controller.core.model import (
    Assignment,
    FleetRecord,
    HostRecord,
    Label,
    Meta,
    RebalanceRecord,
    RolloutRecord,
    Shard,
)
from fleet_controller.core.recovery.inventory import HostInventory
from fleet_controller.core.recovery.seals import SealKey, Seals
from fleet_controller.core.refusals import Refused
from fleet_controller.core.schedules.record import ScheduleRecord
from fleet_controller.leader.inventory import ReportedInventory
from fleet_controller.observed.boot_durations import BootDurations
from fleet_controller.observed.reports import Observed
from fleet_controller.store.codec import BrokenRecord, decode, decode_spec, encode, encode_spec
from fleetctl.definitions.fleet_text import fleet_text
from fleetctl.definitions.guest import BadDefinition
from fleetctl.definitions.reading import read_guest
from megafleet.fleet_file.documents import FleetFileError
from megafleet.fleet_file.parser import parse_fleet_file
from tests.certificates import identity
from tests.fuzz import image_parsers, joining_parsers
from tests.fuzz.foreign_messages import parses

UID = "00000000-0000-0001-0001-000000000001"
SAMPLES = Path(__file__).parents[2] / "deploy" / "samples"
_RECORDS = (
    Assignment, FleetRecord, HostRecord, Meta, RolloutRecord, AuditRecord, EventRecord, Label,
    RebalanceRecord,
    ScheduleRecord,
)  # fmt: skip
_SPEC = types.FleetSpec(
    image=types.Image(name="golden", snapshot="1"),
    memory_bytes=4 << 20,
    vcpus=1,
    boot=types.Boot(kernel="/boot/unix", cmdline="ip={address} n={name}"),
    disk=types.Disk(target="xvda"),
    network=types.Network(bridge="br0", prefix="10.0.0.0/8"),
    readiness=types.Readiness(console_pattern="login:", timeout_seconds=30),
    placement=types.Placement(policy=types.Placement.POLICY_SPREAD, spread_label="rack"),
)
_SEALS = Seals(SealKey("00" * 32))
# What each begins with, as far as its kind says.
_IMAGES = (
    b"QFI\xfb\0\0\0\3" + bytes(512), bytes(510) + b"\x55\xaa" + bytes(512), b"KDMV\1" + bytes(512),
    b"conectix" + bytes(504), b"vhdxfile" + bytes(512), b"LUKS\xba\xbe" + bytes(512),
    b"\xfd7zXZ\0", b"\x28\xb5\x2f\xfd", b"<!DOCTYPE html>", b"disk.ova" + bytes(249) + b"ustar",
)  # fmt: skip
_DEFINITIONS = (
    b"name='a'\nmemory=0x40\nkernel='/k'\nextra=\"q\\x41\"\ndisk=['phy:/dev/vg/a,xvda2,w',\n"
    b"'format=raw,vdev=hdc:cdrom,target=/a,b'] # c\nvif=['mac=00:16:3e:00:00:01,bridge=b']\n",
    b"<domain type='kvm'><name>a</name><memory unit='MiB'>64</memory><os firmware='efi'><type>hvm"
    b"</type></os><devices><disk type='file' device='disk'><source file='/a'/><target dev='vda'/>"
    b"</disk><interface type='bridge'><source bridge='b'/></interface></devices></domain>",
)
_CERTIFICATE = identity(Role.AGENT, "dom0-1").certificate
_SHARD = Shard(UID, IndexSet.span(0, 10), 1, 7)
_ASSIGNED = Assignment(shards=(_SHARD,))


@dataclass(frozen=True, slots=True)
class Parser:
    """`samples`: what it understands, to be mutated."""

    name: str
    reads: Callable[[bytes], object]
    samples: tuple[bytes, ...]


def _fleet_file(data: bytes) -> None:
    try:
        parse_fleet_file(data.decode("utf-8", "surrogateescape"), "fuzzed.yaml")
    except FleetFileError as error:
        str(error)


def _definition(data: bytes) -> None:
    """Of a guest elsewhere; what is printed for it is a fleet file."""
    try:
        fleet_text(read_guest(data))
    except BadDefinition as error:
        assert "\n" not in str(error)


def _records(data: bytes) -> None:
    for kind in _RECORDS:
        try:
            read = decode(kind, "fuzzed", data)
            encode(read)
            if isinstance(read, EventRecord):
                event_of(read).SerializeToString()
        except BrokenRecord as error:
            str(error)


def _spec(data: bytes) -> None:
    try:
        check_spec(decode_spec("fuzzed", data))
    except BrokenRecord as error:
        str(error)


def _report(data: bytes) -> None:
    """As the leader takes it, who has given the host something."""
    report = wire.Report()
    if not parses(data, report):
        return
    boots = BootDurations()
    boots.add("h1", report.boots, report.boot_seconds, 1_000, 0.0)
    boots.buckets()
    observed = Observed()
    observed.assigned("h1", _ASSIGNED)
    try:
        observed.reported("h1", report, 7)
    except ValueError as error:
        str(error)
    observed.standing(UID)
    observed.lost_sight("h1")
    observed.assigned("h1", Assignment())


def _inventory(data: bytes) -> None:
    """As a recovery takes it."""
    report = wire.Report()
    if not parses(data, report):
        return
    try:
        HostInventory().after(report)
        ReportedInventory(lambda: _SEALS).apply_report("h1", report)
    except ValueError as error:
        str(error)


def _assignment(data: bytes) -> None:
    """As an agent takes it."""
    message = types.Assignment()
    if parses(data, message):
        try:
            parse_assignment(message)
        except BadAssignment as error:
            str(error)


def _announcement(data: bytes) -> None:
    facts = types.HostFacts()
    address, _, rest = data.partition(b"\n")
    if parses(rest, facts):
        try:
            encode(announced(None, "h1", address.decode("latin-1"), facts, False))
        except Refused as error:
            str(error)


def _ranges(data: bytes) -> None:
    try:
        parse_ranges(data.decode("latin-1"))
    except ValueError as error:
        str(error)


def _certificate_names(data: bytes) -> None:
    """Whoever it is, is one with a role and a name, or nobody."""
    parse_peer(data.decode("latin-1"))
    pem = b"-----BEGIN CERTIFICATE-----\n%b-----END CERTIFICATE-----\n"
    for shown in (data, pem % binascii.b2a_base64(data)):
        try:
            assert str(peer_of({"x509_pem_cert": [shown]}))
        except NoRole as why:
            str(why)


def _image_header(data: bytes) -> None:
    try:
        size = qcow2_size(data[:QCOW2_HEADER_BYTES])
        assert size is None or size >= 0
    except BadImage as error:
        str(error)


def _image(data: bytes) -> None:
    """What a file is, by its two ends; as a whole file and as a longer one."""
    for size in (len(data), 1 << 30):
        recognised(data[:HEAD_BYTES], data[-TAIL_BYTES:], size)


def _endpoint(data: bytes) -> None:
    for parse in (listened, dialled):
        try:
            assert ":" in parse(data.decode("latin-1"))
        except BadEndpoint as error:
            str(error)


def _console_log(data: bytes) -> None:
    """In pieces: what was read is what was there."""
    with tempfile.NamedTemporaryFile() as file:
        file.write(data)
        file.flush()
        path = Path(file.name)
        place, kept = end_of(path, 64)
        assert data.endswith(kept)
        found = glance(path, place, 64)
        assert not found.data and isinstance(found.place, LogPosition)


def _user_data(data: bytes) -> None:
    """What has nothing wrong becomes YAML again, whatever is filled in."""
    try:
        read = UserData(data.decode("utf-8", "replace"))
    except BadUserData as error:
        str(error)
        return
    if read.problem(("name",)) is None and read.keys:
        yaml.compose(read.filled({"name": "x\"'\\: - # {[&*!|>%@`"}))


_REPORT = wire.Report(
    sequence=1, full=True, epoch=types.Epoch(store_generation=1, revision=7), converged=True,
    shards=[
        wire.ShardReport(
            fleet_uid=UID, generation=1, birth=7, runs=[wire.StateRun(start=0, states=b"\5" * 10)]
        )
    ],
    orphans=[
        wire.Orphans(fleet_uid=UID, birth=1, ranges=[types.IndexRange(start=20, stop=30)])
    ],
    gone=[wire.Gone(fleet_uid=UID, birth=7, ranges=[types.IndexRange(start=3, stop=5)])],
    problems=[wire.Problem(kind="no_memory", fleet_uid=UID, count=2, example_message="none left")],
    released=[1, 2, 3], fleets=[types.FleetIdentity(uid=UID, name="spv")],
    specs=[types.GenerationSpec(fleet_uid=UID, generation=1, spec=_SPEC)],
    term=Term(1, 5).message(),
)  # fmt: skip
_TOLD = types.Assignment(
    fleets=[types.FleetIdentity(uid=UID, name="spv")],
    specs=[types.GenerationSpec(fleet_uid=UID, generation=1, spec=_SPEC)],
    shards=[
        types.Shard(
            fleet_uid=UID, generation=1, birth=7, ranges=[types.IndexRange(start=0, stop=10)]
        )
    ],
    tombstones=[types.Tombstone(id=1, fleet_uid=UID, ranges=[types.IndexRange(start=20, stop=30)])],
)
_FACTS = types.HostFacts(
    machine_id="m", boot_id="b", incarnation="i", labels={"rack": "r1"},
    capacity=types.Capacity(guests=250),
    images=types.ImagesHeld(images=[types.Image(name="golden", snapshot="1")]),
    kernels=types.KernelsHeld(folders=["/boot"], files=["/boot/vmlinuz"]),
    bridges=types.BridgesHeld(names=["br0"]),
)  # fmt: skip
_STORED = (
    encode(_ASSIGNED),
    encode(HostRecord("h1", "10.0.0.1:7443")),
    encode(FleetRecord("spv", UID, 0)),
    encode(Meta()),
    encode(EventRecord(7, 1.0, "vms_failing", "m", "spv", "h1", "operator/me", "c-1", 3, 2.0)),
)

PARSERS: Mapping[str, Parser] = {
    one.name: one
    for one in (
        Parser(
            "fleet file", _fleet_file, tuple(p.read_bytes() for p in sorted(SAMPLES.glob("*.yaml")))
        ),
        Parser("definition of a guest", _definition, _DEFINITIONS),
        Parser("records", _records, _STORED),
        Parser("stored spec", _spec, (encode_spec(_SPEC),)),
        Parser("report", _report, (_REPORT.SerializeToString(),)),
        Parser("inventory", _inventory, (_REPORT.SerializeToString(),)),
        Parser("assignment", _assignment, (_TOLD.SerializeToString(),)),
        Parser(
            "announcement",
            _announcement,
            (b"10.0.0.1:7443\n" + _FACTS.SerializeToString(), b"[::1]:7443\n"),
        ),
        Parser("ranges", _ranges, (b"0-9,12,100-200",)),
        Parser(
            "certificate names",
            _certificate_names,
            (b"agent/dom0-1", _CERTIFICATE, binascii.a2b_base64(_CERTIFICATE.split(b"-----")[2])),
        ),
        Parser(
            "user data",
            _user_data,
            (
                b"#cloud-config\nruncmd: [echo '{name}', 'a {{ b }}']\n"
                b"x: |\n  {name}\ny: &a 1\nz: *a\n",
                b"#!/bin/sh\necho {name}\n",
            ),
        ),
        Parser("image header", _image_header, (b"QFI\xfb\0\0\0\3" + bytes(QCOW2_HEADER_BYTES),)),
        Parser("image", _image, _IMAGES),
        Parser("endpoint", _endpoint, (b"10.0.0.1:7443", b"[fe80::1]:7440", b"host.example:1")),
        Parser("signing request", joining_parsers.signing_request, joining_parsers.REQUESTS),
        Parser("join token", joining_parsers.join_token, (joining_parsers.TOKEN,)),
        Parser("stored token", joining_parsers.stored_token, joining_parsers.RECORDS),
        Parser("caller's address", joining_parsers.caller_address, joining_parsers.PEERS),
        Parser("image manifest", image_parsers.manifest, (image_parsers.MANIFEST,)),
        Parser("state of a fetch", image_parsers.state, (image_parsers.STATE,)),
        Parser("chunk of an image", image_parsers.chunk, image_parsers.CHUNKS),
        Parser("console log", _console_log, (b"boot\r\n\x1b[1mlogin:\x1b[0m ",)),
    )
}
