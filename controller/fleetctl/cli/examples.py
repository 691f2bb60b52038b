"""Two or three examples of each command, for its page of help and for the reference."""

from __future__ import annotations

from collections.abc import Mapping

import click

# By the command's words. A test reads each as fleetctl would.
EXAMPLES: Mapping[str, tuple[str, ...]] = {
    "apply": ("apply -f spv.yaml", "apply -f -"),
    "import": ("import guest.xml", "import /etc/xen/guest.cfg"),
    "scale": (
        "scale spv --total 1000",
        "scale spv --total 1000 --plan",
        "scale spv --total 1000000 --timeout 30m",
    ),
    "plan": ("plan spv --total 1000", "plan spv --total 1000 --partial"),
    "status": ("status", "status spv -o json", "status --check"),
    "watch": ("watch", "watch spv"),
    "wait": ("wait spv --for converged --timeout 8m", "wait h1 --for host-live"),
    "wall": ("wall", "wall --no-open --port 8080"),
    "fleets": ("fleets", "fleets -o wide", "fleets --columns fleet,running,failed"),
    "hosts": ("hosts --sort -failed", "hosts show h1", "hosts drain h1"),
    "hosts list": (
        "hosts list --health lost --all",
        "hosts list --selector rack=r7,zone=a -o name",
        "hosts list -o jsonpath='$.hosts[?@.failed > 0].host'",
    ),
    "hosts show": ("hosts show h1", "hosts show h1 -o json"),
    "hosts drain": (
        "hosts drain h1 --plan",
        "hosts drain --label rack=r7 --no-wait --yes",
        "hosts drain h1 --cancel",
    ),
    "hosts cordon": ("hosts cordon h1", "hosts cordon --label rack=r7"),
    "hosts uncordon": ("hosts uncordon h1", "hosts uncordon --all"),
    "breaker": ("breaker", "breaker release --for 30m"),
    "doctor": ("doctor h1", "doctor --all", "doctor h1 -o json"),
    "tune": ("tune h1", "tune --label rack=r7 --apply", "tune h1 --undo"),
    "vms": ("vms --state failed", "vms show spv-250", "vms restart spv --index 0-99"),
    "vms list": (
        "vms list --state failed --columns name,host,reason",
        "vms list --host h1 --sort -failed",
        "vms list --all -o csv",
    ),
    "vms show": ("vms show spv-250", "vms show 250 --fleet spv -o json"),
    "rollout": ("rollout start spv --plan", "rollout status spv --follow", "rollout undo spv"),
    "rollout start": (
        "rollout start spv --plan",
        "rollout start spv --max-unavailable 2% --by-label rack",
    ),
    "rollout status": ("rollout status spv", "rollout status spv --follow"),
    "top": ("top", "top spv --sort memory", "top --once --limit 50"),
    "console": ("console spv-250", "console 250 --fleet spv"),
    "images": ("images", "images df", "images import golden@1 /srv/golden.qcow2 --host h1"),
    "images list": (
        "images list --host h1",
        "images list --places",
        "images list --sort -clones -o wide",
    ),
    "images push": (
        "images push golden@2 golden.qcow2 --all",
        "images push golden@2 disk.raw --kernel vmlinuz --initrd initrd.img --label rack=r01",
    ),
    "images spread": ("images spread golden@2 --all", "images spread golden@2 --host h2 --host h3"),
    "images show": ("images show golden", "images show golden@1 -o json"),
    "images df": ("images df", "images df --host h1"),
    "events": ("events --limit 20", "events --follow --fleet spv", "events --host h1 -o csv"),
    "history": ("history", "history spv --limit 10", "history --host h1 -o yaml"),
    "delete": ("delete spv", "delete spv --yes"),
    "backup": ("backup megafleet.snapshot", "backup megafleet.snapshot --force"),
    "restore": ("restore megafleet.snapshot --plan", "restore megafleet.snapshot"),
    "recover": ("recover --plan", "recover --adopt --keep-totals"),
    "users": ("users", "users deny eve --reason 'has left'", "users allow eve"),
    "sandbox": ("sandbox up --hosts 448", "sandbox status", "sandbox down"),
    "certs": ("certs init", "certs user alice --viewer", "certs host h1"),
    "contexts": ("contexts", "contexts use lab", "contexts show"),
    "contexts list": ("contexts list", "contexts list -o yaml"),
    "users list": ("users list", "users list --sort -since"),
    "version": ("version", "version --client"),
    "completion": ("completion bash", "completion zsh", "completion fish"),
}


def examples_text(path: str) -> str:
    """As lines to be typed; empty where there are none. `path` is without fleetctl itself."""
    return "\n".join(f"fleetctl {one}" for one in EXAMPLES.get(path, ()))


def add_examples(command: click.Command, path: str) -> None:
    """To the pages of a command and of those below it."""
    if text := examples_text(path):
        command.epilog = "\b\nExamples:\n" + "\n".join(f"  {one}" for one in text.split("\n"))
    if isinstance(command, click.Group):
        for name, below in command.commands.items():
            add_examples(below, f"{path} {name}")
