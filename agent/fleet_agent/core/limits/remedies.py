"""How a limit is lifted: lines for people, and acts that tuning can do by itself."""

from __future__ import annotations

from dataclasses import dataclass

SYSCTL_FILE = "/etc/sysctl.d/60-megafleet.conf"
MODPROBE_FILE = "/etc/modprobe.d/megafleet.conf"
# Before 60-persistent-storage.rules, which honours the flag, and 60-zvol.rules, which still
# makes the links below /dev/zvol.
UDEV_FILE = "/etc/udev/rules.d/10-megafleet-zvol.rules"
GRUB_FILE = "/etc/default/grub.d/megafleet.cfg"
BLOCK_SCRIPT = "/etc/xen/scripts/block"
BLOCK_PROGRAM = "/usr/lib/megafleet/block-phy"

UDEV_RULE = (
    'ACTION!="remove", SUBSYSTEM=="block", KERNEL=="zd*", '
    'ENV{UDEV_DISABLE_PERSISTENT_STORAGE_RULES_FLAG}="1"'
)
THEN_REBOOT = "update-grub, then reboot"


@dataclass(frozen=True, slots=True)
class WriteValue:
    """A value below /proc/sys or /sys/module. Gone with a reboot."""

    path: str
    value: str


@dataclass(frozen=True, slots=True)
class RaiseFiles:
    """The open files that a running daemon may have. Gone when it is restarted."""

    process: str
    files: int


@dataclass(frozen=True, slots=True)
class SwitchBlockScript:
    """Our program in place of Xen's block script, which stays beside it as `block.stock`."""


LiveAct = WriteValue | RaiseFiles | SwitchBlockScript


@dataclass(frozen=True, slots=True)
class KeptLine:
    """A line of a file of ours; a later one with the same key replaces it."""

    file: str
    key: str
    text: str


@dataclass(frozen=True, slots=True)
class Remedy:
    """`line` is to be copied, into `file` unless that is empty: then it is a command or a
    sentence. `then` is what makes it count. Without acts and lines of its own it is for people."""

    line: str
    file: str = ""
    then: str = ""
    reboot: bool = False
    live: tuple[LiveAct, ...] = ()
    kept: tuple[KeptLine, ...] = ()

    @property
    def by_tune(self) -> bool:
        return bool(self.live or self.kept)


def sysctl(key: str, value: int) -> Remedy:
    """Now, and at each boot."""
    line = f"{key} = {value}"
    path = "/proc/sys/" + key.replace(".", "/")
    kept = KeptLine(SYSCTL_FILE, key, line)
    return Remedy(line, SYSCTL_FILE, live=(WriteValue(path, str(value)),), kept=(kept,))


def parameter(name: str, value: int, *, live: bool = True) -> Remedy:
    """A module's, as MODULE/PARAMETER: now if it can be changed while the module is loaded, and
    whenever it is loaded."""
    module, _, key = name.partition("/")
    line = f"options {module} {key}={value}"
    path = f"/sys/module/{module}/parameters/{key}"
    return Remedy(
        line,
        MODPROBE_FILE,
        then="" if live else "update-initramfs -u, then reboot",
        reboot=not live,
        live=(WriteValue(path, str(value)),) if live else (),
        kept=(KeptLine(MODPROBE_FILE, f"options {module} {key}", line),),
    )


def files_of(process: str, unit: str, files: int) -> Remedy:
    """Of the daemon that runs, and whenever its unit is started."""
    live = (RaiseFiles(process, files),)
    if not unit:
        return Remedy(f"prlimit --nofile={files} --pid $(pidof {process})", live=live)
    file, line = f"/etc/systemd/system/{unit}.d/megafleet.conf", f"LimitNOFILE={files}"
    return Remedy(line, file, live=live, kept=(KeptLine(file, "LimitNOFILE", line),))


def xen_option(text: str) -> Remedy:
    """On Xen's command line."""
    line = f'GRUB_CMDLINE_XEN_DEFAULT="$GRUB_CMDLINE_XEN_DEFAULT {text}"'
    return Remedy(line, GRUB_FILE, then=THEN_REBOOT, reboot=True)


def by_hand(line: str, file: str = "", *, then: str = "", reboot: bool = False) -> Remedy:
    return Remedy(line, file, then=then, reboot=reboot)


def power_of_two(value: int) -> int:
    """The least that is not below the value."""
    return 1 << max(0, value - 1).bit_length()
