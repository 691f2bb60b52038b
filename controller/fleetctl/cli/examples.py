"""Two or three examples of each command, for its page of help and for the reference."""

from __future__ import annotations

from collections.abc import Mapping

# By the command's words. A test reads each as fleetctl would.
EXAMPLES: Mapping[str, tuple[str, ...]] = {
    "": ("apply -f spv.yaml", "scale spv --total 1000", "status"),
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
    "hosts approve": ("hosts approve h1", "hosts approve h1 h2 h3"),
    "hosts bound": ("hosts bound h1 --max-guests 200", "hosts bound h1 --max-guests 0"),
    "hosts pin": ("hosts pin h1", "hosts pin h1 --label rack=r7"),
    "hosts unpin": ("hosts unpin h1", "hosts unpin h1 -o json"),
    "hosts declare-lost": (
        "hosts declare-lost h1 --plan",
        "hosts declare-lost h1 h2 --yes",
        "hosts declare-lost h1 --undo",
    ),
    "hosts release": ("hosts release h1", "hosts release h1 -o json"),
    "hosts remove": ("hosts remove h1 --plan", "hosts remove h1 --force --yes"),
    "hosts reset": ("hosts reset h1", "hosts reset h1 --yes"),
    "hosts expel": (
        "hosts expel h1 --reason 'stolen' --plan",
        "hosts expel h1 --reason 'stolen' --yes",
    ),
    "hosts readmit": ("hosts readmit h1", "hosts readmit h1 -o json"),
    "tokens": (
        "tokens create --name 'dom0-*' --uses 40 --label rack=r01",
        "tokens",
        "tokens revoke abcd2345",
    ),
    "tokens create": (
        "tokens create --uses 3",
        "tokens create --name 'dom0-*' --cidr 10.1.0.0/16 --uses 4480 --ttl 2h",
    ),
    "tokens list": ("tokens list", "tokens list -o json"),
    "tokens revoke": ("tokens revoke abcd2345", "tokens revoke abcd2345 -o json"),
    "certs rotate": (
        "certs rotate begin c1 c2 c3 alice",
        "certs rotate reissue c1 c2 c3 alice issuing",
        "certs rotate finish c1 c2 c3 alice",
    ),
    "certs rotate begin": (
        "certs rotate begin c1 c2 c3 alice",
        "certs rotate begin c1 --days 1825",
    ),
    "certs rotate reissue": (
        "certs rotate reissue c1 c2 c3 alice issuing",
        "certs rotate reissue c1 --days 90",
    ),
    "certs rotate finish": (
        "certs rotate finish c1 c2 c3 alice",
        "certs rotate finish c1 --ca ca",
    ),
    "certs issuing": ("certs issuing --out issuing", "certs issuing --days 90"),
    "breaker": ("breaker", "breaker release --for 30m"),
    "breaker show": ("breaker show", "breaker show -o json"),
    "breaker release": ("breaker release", "breaker release --for 30m"),
    "doctor": ("doctor h1", "doctor --all", "doctor h1 -o json"),
    "tune": ("tune h1", "tune --label rack=r7 --apply", "tune h1 --undo"),
    "vms": ("vms --state failed", "vms show spv-250", "vms restart spv --index 0-99"),
    "vms list": (
        "vms list --state failed --columns name,host,reason",
        "vms list --selector rack=r7 --watch",
        "vms list --all -o csv",
    ),
    "vms show": ("vms show spv-250", "vms show 250 --fleet spv -o json"),
    "vms restart": ("vms restart spv --index 0-99", "vms restart spv --host h1 --plan"),
    "vms reimage": ("vms reimage spv --state failed --plan", "vms reimage spv --index 250 --yes"),
    "vms stop": ("vms stop spv --index 0-99", "vms stop spv --all --plan"),
    "vms start": ("vms start spv --index 0-99", "vms start spv --all --yes"),
    "vms retry": ("vms retry spv --all", "vms retry spv --host h1"),
    "rollout": ("rollout start spv --plan", "rollout status spv --follow", "rollout undo spv"),
    "rollout start": (
        "rollout start spv --plan",
        "rollout start spv --max-unavailable 2% --by-label rack",
    ),
    "rollout status": ("rollout status spv", "rollout status spv --follow"),
    "rollout pause": ("rollout pause spv", "rollout pause spv -o json"),
    "rollout resume": ("rollout resume spv", "rollout resume spv -o json"),
    "rollout undo": ("rollout undo spv --plan", "rollout undo spv --yes --no-wait"),
    "rollout abort": ("rollout abort spv", "rollout abort spv -o json"),
    "top": ("top", "top spv --sort memory", "top --once -o csv"),
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
    "images import": (
        "images import golden@1 /srv/golden.qcow2 --host h1",
        "images import rootfs@2 /srv/rootfs --host h1 --size 2GiB",
    ),
    "images delete": ("images delete golden@1 --host h1", "images delete golden@1 --yes"),
    "events": ("events --limit 20", "events --follow --fleet spv", "events --change 3fa9c1d2e4b5"),
    "history": ("history", "history spv --limit 10", "history --change 3fa9c1d2e4b5"),
    "delete": ("delete spv", "delete spv --yes"),
    "backup": ("backup megafleet.snapshot", "backup megafleet.snapshot --force"),
    "restore": ("restore megafleet.snapshot --plan", "restore megafleet.snapshot"),
    "recover": ("recover --plan", "recover --adopt --keep-totals"),
    "users": ("users", "users deny eve --reason 'has left'", "users allow eve"),
    "users deny": (
        "users deny eve --reason 'has left'",
        "users deny controller-3 --role controller --reason 'its key is known'",
    ),
    "users allow": ("users allow eve", "users allow controller-3 --role controller"),
    "cluster": (
        "cluster init",
        "cluster add-controller controller-2 --address 192.0.2.22",
        "cluster status",
    ),
    "cluster init": ("cluster init", "cluster init --name controller-1 --address 192.0.2.21"),
    "cluster add-controller": (
        "cluster add-controller controller-2 --address 192.0.2.22",
        "cluster add-controller controller-2 --address 192.0.2.22 --no-wait",
    ),
    "cluster replace-member": (
        "cluster replace-member controller-2 --address 192.0.2.22",
        "cluster replace-member controller-2 --new-name controller-4 --address 192.0.2.24",
        "cluster replace-member https://192.0.2.99:2380 --new-name controller-2 "
        "--address 192.0.2.22",
    ),
    "cluster join": ("cluster join -", "cluster join - -o json"),
    "cluster refresh": ("cluster refresh", "cluster refresh -o json"),
    "cluster renew": ("cluster renew", "cluster renew controller-2"),
    "cluster status": ("cluster status", "cluster status -o json"),
    "sandbox": ("sandbox up --hosts 448", "sandbox status", "sandbox down"),
    "sandbox up": (
        "sandbox up --hosts 448",
        "sandbox up --controllers 3 --etcd 3",
        "sandbox up --real 4",
    ),
    "sandbox demo": ("sandbox demo", "sandbox demo --hosts 448 --total 100000"),
    "sandbox status": ("sandbox status", "sandbox status --name lab -o json"),
    "sandbox down": ("sandbox down", "sandbox down --keep"),
    "sandbox restore": (
        "sandbox restore megafleet.snapshot",
        "sandbox restore megafleet.snapshot --name lab",
    ),
    "certs": ("certs init", "certs user alice --viewer", "certs host h1"),
    "certs init": ("certs init", "certs init --name 'Megafleet of the lab' --ca ca"),
    "certs controller": (
        "certs controller controller-1 --san c1.example.net",
        "certs controller c1 c2 c3 --out out",
    ),
    "certs host": ("certs host h1", "certs host h1 h2 h3 --out out --days 90"),
    "certs user": ("certs user alice", "certs user bob --viewer --out out"),
    "contexts": ("contexts", "contexts use lab", "contexts show"),
    "contexts add": (
        "contexts add lab --endpoint c1.example.net:7440 --identity alice --use",
        "contexts add lab --endpoint c1:7440 --endpoint c2:7440 --identity alice",
    ),
    "contexts show": ("contexts show", "contexts show lab -o json"),
    "contexts use": ("contexts use lab", "contexts use sandbox"),
    "contexts list": ("contexts list", "contexts list -o yaml"),
    "users list": ("users list", "users list --sort -since"),
    "version": ("version", "version --client"),
    "completion": ("completion bash", "completion zsh", "completion fish"),
}


def examples_text(path: str) -> str:
    """As lines to be typed; empty where there are none. `path` is without fleetctl itself."""
    return "\n".join(f"fleetctl {one}" for one in EXAMPLES.get(path, ()))
