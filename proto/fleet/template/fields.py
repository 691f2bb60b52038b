"""What a fleet's template may hold: one table of fields and bounds.

The table drives three things: how a fleet file is read (fleetctl), what the controller accepts
(it trusts no client), and the reference of the fleet file.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from fleet.identity import (
    MAC_PATTERN,
    MAX_INDEX,
    MAX_NAME_LENGTH,
    MAX_NIC,
    NAME_PATTERN,
)
from fleet.labels import KEY_WORDS, LABEL_KEY, PART_WORDS
from fleet.spec_texts import (
    MAX_CMDLINE_BYTES,
    MAX_USER_DATA_BYTES,
    cmdline_problem,
    component_problem,
    disk_path_problem,
    ip_problem,
    mac_base_problem,
    path_problem,
    prefix_problem,
    regular_expression_problem,
    ssh_key_problem,
    user_data_problem,
)
from fleet.template.bridges import MAX_VLAN
from fleet.template.field import KIB, MIB, TIB, Field, Kind, Listed
from fleet.template.identity_fields import MAX_VALUES
from fleet.template.placeholders import MAX_DNS
from fleet.template.schedules import ENTRY, ENTRY_WORDS, MAX_POINTS, ZONE, ZONE_WORDS
from fleet.v1 import types_pb2 as types

MAX_LABELS = 32

_COMPONENT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_COMPONENT_WORDS = "1 to 64 letters, digits, '.', '_' and '-', beginning with a letter or digit"
_FILE = re.compile(r"/[A-Za-z0-9._+/-]{1,254}")
_FILE_WORDS = "an absolute path of at most 255 letters, digits, '.', '_', '+', '-' and '/'"
_TARGET = re.compile(r"(xvd|vd|sd|hd)[a-z]{1,2}([1-9]|1[0-5])?")
_TARGET_WORDS = "xvda, vda, sda and the like, or a partition such as xvda2"
_BRIDGE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,14}")
_BRIDGE_WORDS = "an interface's name: 1 to 15 letters, digits, '.', '_' and '-'"
_PREFIX = re.compile(r"([0-9a-fA-F.:]{2,45}/[0-9]{1,3})?")
_PREFIX_WORDS = "a network such as 10.0.0.0/8"
_MAC = re.compile(f"({MAC_PATTERN.pattern})?")
_MAC_WORDS = "a MAC address such as 00:16:3e:00:00:00"
_MAC_SAYS = (
    "The MAC address of VM 0; each VM's has its index added to the last three octets. Left out, "
    "addresses are derived, and are no other fleet's."
)
_IP = re.compile(r"[0-9a-fA-F.:]{2,45}")
_IP_WORDS = "an address such as 10.0.0.1"
# What adduser allows; long enough for all who are people.
_USER = re.compile(r"[a-z_][a-z0-9_-]{0,31}")
_USER_WORDS = "1 to 32 lower-case letters, digits, '_' and '-', beginning with a letter or '_'"
_LINE = re.compile(r"[^\x00-\x1f\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]{1,8192}")
_KEYS_WORDS = "at most 32 public keys as in authorized_keys, each one line, in a list"


def _network_fields(section: str, which: str) -> tuple[Field, ...]:
    """What is alike of the first interface and of those after it; `which`: in words."""
    return (
        Field(
            f"{section}.create", Kind.FLAG,
            "Whether the agent makes the bridge on hosts that have none of this name: a bridge of "
            "that host alone, which goes with the last VM that uses it.", "false",
        ),
        Field(
            f"{section}.vlan", Kind.COUNT,
            f"The VLAN of the bridge that {which} is in, by a bridge of the agent's own.",
            "0", low=1, high=MAX_VLAN, zero="none",
        ),
        Field(
            f"{section}.mtu", Kind.COUNT,
            f"The MTU of {which}, and of bridges that the agent makes.", "0",
            low=576, high=9216, zero="the bridge's",
        ),
        Field(
            f"{section}.mac_base", Kind.TEXT, _MAC_SAYS, "",
            pattern=_MAC, words=_MAC_WORDS, check=mac_base_problem,
        ),
        Field(
            f"{section}.gateway", Kind.TEXT,
            "Where a VM sends what is for elsewhere; left out, it is told of nowhere.", "",
            pattern=_IP, words=_IP_WORDS, check=ip_problem,
        ),
        Field(
            f"{section}.dns", Kind.TEXTS, "Whom a VM asks for names.", "",
            high=MAX_DNS, pattern=_IP, words=f"at most {MAX_DNS} addresses, in a list",
            check=ip_problem,
        ),
    )  # fmt: skip


NAME = Field(
    "name", Kind.TEXT, "The fleet's name: the start of its VMs' names, as in spv-250.", None,
    holds="", pattern=re.compile(f"(?=.{{1,{MAX_NAME_LENGTH}}}$){NAME_PATTERN.pattern}"),
    words=f"1 to {MAX_NAME_LENGTH} lower-case letters, digits and single hyphens, beginning "
    "with a letter",
)  # fmt: skip

FIELDS: tuple[Field, ...] = (
    NAME,
    Field(
        "image.name", Kind.TEXT,
        "The golden image that each VM's disk is cloned from: its name under the hosts' pool.",
        None, pattern=_COMPONENT, words=_COMPONENT_WORDS, check=component_problem,
    ),
    Field(
        "image.snapshot", Kind.TEXT, "The snapshot of the golden image.", None,
        pattern=_COMPONENT, words=_COMPONENT_WORDS, check=component_problem,
    ),
    Field(
        "image.digest", Kind.TEXT,
        "The content the image must have on every host, as imports tell it; left out, any.", "",
        pattern=re.compile(r"(sha256:[0-9a-f]{64})?"),
        words="sha256: and 64 lower-case hexadecimal digits",
    ),
    Field(
        "image.local_only", Kind.FLAG,
        "Whether hosts that lack the image get no VMs, rather than fetch it from others.", "false",
    ),
    Field("memory", Kind.SIZE, "Memory of one VM.", None, holds="memory_bytes",
          low=MIB, high=TIB, step=MIB),
    Field("vcpus", Kind.COUNT, "Virtual CPUs of one VM.", "1", low=1, high=128),
    Field(
        "boot.kernel", Kind.TEXT,
        "The kernel, a file on every host: a bzImage, or an ELF program with a note of Xen or PVH.",
        "", pattern=re.compile(f"({_FILE.pattern})?"), words=_FILE_WORDS, check=path_problem,
    ),
    Field(
        "boot.firmware", Kind.CHOICE,
        "Starts what the VM's own disk holds. bios, where there is no kernel and no loader.", "",
        choices={"bios": types.FIRMWARE_BIOS, "uefi": types.FIRMWARE_UEFI},
    ),
    Field(
        "boot.loader", Kind.CHOICE,
        "GRUB for paravirtualised guests, which reads grub.cfg of the VM's own disk. Xen only.", "",
        choices={"pvgrub": types.LOADER_PVGRUB},
    ),
    Field(
        "boot.initrd", Kind.TEXT,
        "The kernel's initial ramdisk, a file on every host; left out, none.",
        "", pattern=re.compile(f"({_FILE.pattern})?"), words=_FILE_WORDS, check=path_problem,
    ),
    Field(
        "boot.cmdline", Kind.TEXT,
        "The kernel's command line, with placeholders, each of which becomes that of each VM.", "",
        pattern=re.compile(r"[ -~]*"),
        words=f"printable ASCII, at most {MAX_CMDLINE_BYTES} characters when filled in",
        check=cmdline_problem,
    ),
    Field(
        "start", Kind.CHOICE,
        "Whether each VM boots, or is a copy of one that has booted as far as where it waits to be "
        "told who it is. Copies are QEMU's, of a guest that is made for it.", "boot",
        choices={"boot": types.START_BOOT, "clone": types.START_CLONE},
    ),
    Field(
        "guest_agent", Kind.FLAG,
        "Whether each VM gets a channel for qemu-guest-agent, so that commands are run by it. Of "
        "VMs of QEMU that boot; others have their console.", "false",
    ),
    Field(
        "disk.target", Kind.TEXT,
        "The clone's device name in the VM; \"\": no disk. Only Xen has partitions for disks.",
        "xvda",
        pattern=re.compile(f"({_TARGET.pattern})?"), words=_TARGET_WORDS,
    ),
    Field("disk.size", Kind.SIZE, "Size of the disk.", "0", holds="disk.size_bytes",
          low=MIB, high=64 * TIB, step=MIB, zero="the image's own"),
    Field("disk.read_only", Kind.FLAG, "Whether the VM may only read its disk.", "false"),
    Field(
        "disks[].target", Kind.TEXT, "The disk's device name in the VM.", None,
        pattern=_TARGET, words=_TARGET_WORDS,
    ),
    Field(
        "disks[].path", Kind.TEXT,
        "A device or file that is on every host: never cloned, never removed. {name} and {index} "
        "become those of each VM.", None,
        pattern=re.compile(r"/[A-Za-z0-9._+/{}-]{1,254}"),
        words=f"{_FILE_WORDS}, with {{name}} and {{index}} filled in", check=disk_path_problem,
    ),
    Field(
        "disks[].read_only", Kind.FLAG,
        "Whether VMs may only read it. A disk without {name} or {index} is shared, and must be.",
        "true",
    ),
    Field(
        "disks[].cdrom", Kind.FLAG,
        "Whether it is a CD drive with the file as its disc: read only, as hda, hdb, hdc or hdd.",
        "false",
    ),
    Field(
        "network.bridge", Kind.TEXT, "The hosts' bridge that each VM's interface joins.", None,
        pattern=_BRIDGE, words=_BRIDGE_WORDS,
    ),
    Field(
        "network.prefix", Kind.TEXT,
        "The network from which each VM's address follows by its index; left out, none.", "",
        pattern=_PREFIX, words=_PREFIX_WORDS, check=prefix_problem,
    ),
    *_network_fields("network", "each VM's interface"),
    Field(
        "networks[].bridge", Kind.TEXT, "The hosts' bridge that this interface joins.", None,
        pattern=_BRIDGE, words=_BRIDGE_WORDS,
    ),
    Field(
        "networks[].prefix", Kind.TEXT,
        "The network from which this interface's address follows; left out, none.", "",
        pattern=_PREFIX, words=_PREFIX_WORDS, check=prefix_problem,
    ),
    *_network_fields("networks[]", "this interface"),
    Field(
        "identity.hostname", Kind.TEXT,
        "The host name, or the name with its domain. {name}, {index} and those of `values` become "
        "those of each VM.", "{name}",
        pattern=re.compile(r"[A-Za-z0-9._{}-]{1,253}"),
        words="letters, digits, '-', '.' and placeholders; at most 253 characters",
    ),
    Field(
        "identity.ssh_keys", Kind.TEXTS, "Who may log in as the image's default user.", "",
        high=32, pattern=_LINE, words=_KEYS_WORDS, check=ssh_key_problem,
    ),
    Field(
        "identity.packages", Kind.TEXTS,
        "What is installed when a VM first starts, as its distribution calls it.", "",
        high=256, pattern=re.compile(r"[A-Za-z0-9][A-Za-z0-9.+:~=_/-]{0,127}"),
        words="at most 256 names of packages, in a list",
    ),
    Field(
        "identity.user_data", Kind.TEXT,
        "User data as cloud-init takes it. The placeholders of the command line and those of "
        "`values` become those of each VM.", "",
        words=f"text, at most {MAX_USER_DATA_BYTES // KIB} KiB", check=user_data_problem,
    ),
    Field(
        "identity.user_data_file", Kind.TEXT,
        "The same from a file, which `apply` reads; its path begins at the fleet file's folder.",
        "", holds="",
        pattern=re.compile(r"([A-Za-z0-9._+-]+/)*[A-Za-z0-9._+-]{1,255}"),
        words="a path below the fleet file's folder: letters, digits, '.', '_', '+', '-' and '/'",
        check=component_problem,
    ),
    Field(
        "identity.user_data_verbatim", Kind.FLAG,
        "Whether braces in the user data are text: nothing is filled in.", "false",
    ),
    Field(
        "identity.values", Kind.VALUES,
        "Further placeholders. A VM has the item of its index; past the last they begin anew.",
        "{}", high=MAX_VALUES,
        words=f"at most {MAX_VALUES} lines of 'name: [text, text]' or 'name: 8000-8999'",
    ),
    Field(
        "identity.users[].name", Kind.TEXT, "The user's name.", None,
        pattern=_USER, words=_USER_WORDS,
    ),
    Field(
        "identity.users[].ssh_keys", Kind.TEXTS, "Who may log in as this user.", "",
        high=32, pattern=_LINE, words=_KEYS_WORDS, check=ssh_key_problem,
    ),
    Field(
        "identity.users[].groups", Kind.TEXTS, "Groups that the user is in besides its own.", "",
        high=32, pattern=_USER, words="at most 32 names of groups, in a list",
    ),
    Field(
        "identity.users[].sudo", Kind.FLAG,
        "Whether the user may do anything as root, without a password.", "false",
    ),
    Field(
        "identity.users[].shell", Kind.TEXT, "The user's shell; left out, the image's usual one.",
        "", pattern=_FILE, words=_FILE_WORDS, check=path_problem,
    ),
    Field(
        "readiness.active", Kind.FLAG,
        "A VM runs as soon as its domain is active. The default without `console`.", "true",
        holds="readiness.domain_active",
    ),
    Field(
        "readiness.console", Kind.TEXT,
        "A VM runs once a line of its console, without colours and the like, has this regular "
        "expression (RE2) in it.", "",
        holds="readiness.console_pattern", pattern=re.compile(r"[ -~]{0,256}"),
        words="a regular expression (RE2) of at most 256 printable ASCII characters",
        check=regular_expression_problem,
    ),
    Field(
        "readiness.timeout", Kind.DURATION, "A VM not ready by then has failed and is retried.",
        "60s", holds="readiness.timeout_seconds", low=0.1, high=86400,
    ),
    Field(
        "admission.parallel", Kind.COUNT,
        "The most VMs of one host between start and ready at the same time. Fewer while its CPUs "
        "are busy: see cpu_pressure in limits.md.", "32", low=1, high=4096,
    ),
    Field("admission.per_second", Kind.RATE, "VMs that one host starts a second.", "0",
          low=0.01, high=10000, zero="no limit"),
    Field(
        "placement.policy", Kind.CHOICE,
        "spread: level over the label's values, then over hosts. pack: fill host after host.",
        "spread",
        choices={
            "spread": types.Placement.POLICY_SPREAD,
            "pack": types.Placement.POLICY_PACK,
        },
    ),
    Field("placement.per_host", Kind.COUNT, "At most this many VMs of the fleet on one host.",
          "0", low=1, high=65535, zero="the host's capacity"),
    Field(
        "placement.spread_label", Kind.TEXT,
        "The label of hosts to spread over, such as rack; left out, over hosts alone.", "",
        pattern=re.compile(f"({LABEL_KEY.pattern})?"),
        words=f"a label's key: {KEY_WORDS}",
    ),
    Field(
        "placement.selector", Kind.LABELS, "Only hosts that carry all these labels.", "{}",
        high=MAX_LABELS,
        words=f"at most {MAX_LABELS} labels; keys are {KEY_WORDS}; values are {PART_WORDS}, or "
        "empty",
    ),
    Field(
        "on_loss", Kind.CHOICE,
        "When a host is lost: replace its VMs on other hosts, or wait for it to return.",
        "replace",
        choices={"replace": types.ON_LOSS_REPLACE, "wait": types.ON_LOSS_WAIT},
    ),
    Field(
        "on_isolation.stop_after", Kind.SECONDS,
        "A host that has heard no controller for so long stops these VMs, and starts them once one "
        "has said again that they are its.",
        "0", holds="on_isolation_stop_after_seconds", low=60, high=604800, zero="never",
    ),
    Field(
        "disruption.at_most", Kind.COUNT,
        "The most VMs of the fleet that may be down at once for what is done on purpose: drains, "
        "rollouts, restarts, VMs made anew. Those that are down by themselves count as well.",
        str(MAX_INDEX + 1), low=1, high=MAX_INDEX + 1,
    ),
    Field(
        "disruption.share", Kind.RATE,
        "The same as a share of the fleet's total, and at least one VM. Where both are given, the "
        "smaller one holds.", "1", low=0.0001, high=1,
    ),
    Field(
        "disruption.per_minute", Kind.COUNT,
        "The most VMs that are begun anew on purpose in any minute.",
        str(MAX_INDEX + 1), low=1, high=MAX_INDEX + 1,
    ),
    Field(
        "schedule.time_zone", Kind.TEXT,
        "Whose days and hours the points are by: its IANA name.", "UTC",
        pattern=ZONE, words=ZONE_WORDS,
    ),
    Field(
        "schedule.points[].at", Kind.TEXT,
        "When the fleet gets the total, as in a crontab: minute, hour, day of month, month, day of "
        "week. Of two points at once the later in the list counts.", None,
        pattern=ENTRY, words=ENTRY_WORDS,
    ),
    Field(
        "schedule.points[].total", Kind.COUNT,
        "How many VMs the fleet has from then on, until the next point or somebody scales it.",
        None, low=0, high=MAX_INDEX + 1,
    ),
)  # fmt: skip

# Sections that a file may leave out as a whole although a field in them is required.
OPTIONAL_SECTIONS = frozenset({"network", "identity", "disruption", "schedule"})

LISTS: Mapping[str, Listed] = {
    one.path: one
    for one in (
        Listed("disks[]", "more_disks", most=8),
        Listed("networks[]", "more_networks", most=MAX_NIC),  # beside `network`
        Listed("identity.users[]", "identity.users", most=32),
        Listed("schedule.points[]", "schedule.points", most=MAX_POINTS),
    )
}
