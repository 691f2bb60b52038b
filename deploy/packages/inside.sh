#!/bin/bash
# Run by prove.sh inside of its container, under systemd and without a network.
set -euo pipefail
exec </dev/null
export DEBIAN_FRONTEND=noninteractive LANG=C.UTF-8 LIBVIRT_DEFAULT_URI=qemu:///system
series=$(. /etc/os-release && echo "$VERSION_CODENAME")
began=$SECONDS
say() { printf -- '-- %3d s  %s\n' $((SECONDS - began)) "$*"; }
fail() {
  say "FAILED: $*"
  journalctl --no-pager -n 40 -u etcd -u fleet-controller -u fleet-agent -u libvirtd
  if [ -e /var/lib/megafleet/upgrade.log ]; then tail -n 40 /var/lib/megafleet/upgrade.log; fi
  exit 1
}
trap 'fail "line $LINENO: $BASH_COMMAND"' ERR
apt() { apt-get -q -y --no-install-recommends "$@" >/srv/apt.log 2>&1 || { tail -n 20 /srv/apt.log; return 1; }; }
source_of() {
  rm -rf /var/lib/apt/lists/*
  echo "deb [signed-by=/usr/share/keyrings/megafleet.gpg] file:/srv/$1 $series main" \
    >/etc/apt/sources.list
}
awaits() { # seconds, command
  local until=$((SECONDS + $1))
  shift
  while ! "$@" >/srv/awaited 2>&1; do
    if [ $SECONDS -gt $until ]; then cat /srv/awaited; fail "$*"; fi
    sleep 0.5
  done
}
all="megafleet-agent megafleet-controller megafleet-client megafleet-guests"
rm -f /etc/apt/sources.list.d/*
find / -xdev -name '*megafleet*' -not -path '/srv/*' -not -path '/usr/share/keyrings/*' >/srv/before

say "a repository that a stranger has signed is refused"
source_of stranger
if apt update && [ -n "$(ls /var/lib/apt/lists/*Packages 2>/dev/null)" ]; then fail "it was read"; fi
grep -q "NO_PUBKEY\|is not signed\|couldn't be verified\|Missing key" /srv/apt.log || fail "and why"
if apt install megafleet-client; then fail "it was installed"; fi
say "one whose list was changed after it was signed as well"
source_of apt
cp -r /srv/apt /srv/changed
sed -i 's/^Origin: .*/Origin: Somebody/' "/srv/changed/dists/$series/InRelease"
rm "/srv/changed/dists/$series/Release.gpg"
source_of changed
if apt update && apt install megafleet-client; then fail "it was installed"; fi
rm -rf /srv/changed

say "installs, without a network"
source_of apt
apt update
apt install $all
fleetctl version --client
[ "$(stat -c '%U %a' /etc/megafleet/controller)" = "megafleet 700" ]
[ "$(stat -c '%U %a' /etc/megafleet/identity)" = "root 700" ]
[ "$(stat -c %a /etc/megafleet)" = 755 ]
systemctl is-enabled fleet-agent fleet-controller
for unit in fleet-agent fleet-controller; do
  [ "$(systemctl show -P ActiveState $unit)" = inactive ] || fail "$unit runs before it can"
done
/usr/lib/megafleet/agent/bin/python -I -c 'import libvirt, grpc, fleet_agent'
systemd-analyze verify fleet-agent.service fleet-controller.service

say "fleetctl cluster init"
fleetctl cluster init --name c1 --address 127.0.0.1
systemctl is-active etcd fleet-controller
[ "$(systemctl show -P User fleet-controller)" = megafleet ]
fleetctl cluster init --name c1 --address 127.0.0.1 >/dev/null
fleetctl cluster status
fleetctl backup /root/store.backup --etcd-root

say "fleetctl cluster renew"
fleetctl cluster renew
for file in controller/key.pem etcd-client/key.pem issuing/issuing-key.pem; do
  [ "$(stat -c '%U %a' /etc/megafleet/$file)" = "megafleet 600" ] || fail "whose is $file"
done
[ "$(stat -c '%U %a' /etc/megafleet/etcd/key.pem)" = "etcd 600" ]
awaits 60 fleetctl status

say "this machine becomes a host"
fleetctl tokens create | fleet-agent join --controllers 127.0.0.1:7444 --token-file - --name dom0-1
cat >/etc/megafleet/agent.toml <<'END'
guests = 4
[hypervisor]
uri = "qemu:///system"
accelerator = "tcg"
console_log = "/var/log/libvirt/qemu/{name}.console.log"
[storage]
kind = "files"
parent = "/var/lib/megafleet/disks"
END
mkdir -m 711 /var/lib/megafleet/disks
# The container lends QEMU no control groups, and it is QEMU's world already.
printf "%s = []\n" cgroup_controllers namespaces >>/etc/libvirt/qemu.conf
printf "%s\n" 'security_driver = "none"' 'user = "root"' 'group = "root"' >>/etc/libvirt/qemu.conf
systemctl start libvirtd virtlogd fleet-agent
awaits 60 fleetctl wait dom0-1 --for host-live --timeout 30
truncate -s 16M /root/golden.img
mkfs.ext4 -q /root/golden.img
fleetctl images import golden@1 /root/golden.img --host dom0-1
cat >/root/fleet.yaml <<'END'
name: tiny
image: {name: golden, snapshot: "1"}
memory: 96MiB
vcpus: 1
boot:
  kernel: /var/lib/megafleet/guests/linux/vmlinuz
  initrd: /var/lib/megafleet/guests/linux/initrd.img
  cmdline: "console=hvc0 quiet name={name} index={index}"
disk: {target: xvda, size: 16MiB, read_only: false}
END
fleetctl apply -f /root/fleet.yaml
fleetctl scale tiny --total 2 --timeout 5m
qemus() { ps -eo pid,lstart,comm | grep qemu-system | sort; }
before=$(qemus)
[ "$(wc -l <<<"$before")" = 2 ]

say "an upgrade from a repository that a stranger has signed is halted, and changes nothing"
agent=$(systemctl show -P MainPID fleet-agent) controller=$(systemctl show -P MainPID fleet-controller)
release=$(cat /srv/next.release) had=$(dpkg-query -W megafleet-agent)
source_of stranger-next
fleetctl upgrade --plan --to "$release"
if fleetctl upgrade --to "$release" --yes --timeout 3m 2>/srv/awaited; then fail "it went on"; fi
cat /srv/awaited
grep -q "no repository that this host trusts has megafleet-agent $release" /srv/awaited || fail "why"
[ "$(dpkg-query -W megafleet-agent)" = "$had" ]
[ "$(systemctl show -P MainPID fleet-agent)" = "$agent" ]
fleetctl upgrade cancel

say "fleetctl upgrade installs the agent of the next release, and stops no VM"
source_of next
fleetctl upgrade --to "$release" --yes --timeout 5m
[ "$(systemctl show -P MainPID fleet-controller)" = "$controller" ] || fail "the controller was touched"
[ "$(systemctl show -P MainPID fleet-agent)" != "$agent" ] || fail "the agent was not restarted"
fleetctl hosts -o json | tr -d ' \n' | grep -q "\"agent_version\":\"$release\"" || fail "the host says otherwise"
[ "$(qemus)" = "$before" ] || fail "VMs were touched: $before / $(qemus)"

say "upgrading the packages restarts the controller, and stops no VM"
apt upgrade
awaits 60 systemctl is-active fleet-agent fleet-controller
[ "$(systemctl show -P MainPID fleet-controller)" != "$controller" ] || fail "it was not restarted"
awaits 90 fleetctl wait dom0-1 --for host-live --timeout 30
[ "$(qemus)" = "$before" ] || fail "VMs were touched: $before / $(qemus)"
fleetctl wait tiny --for converged --timeout 2m
[ "$(qemus)" = "$before" ] || fail "VMs were touched after it"

say "purging what runs VMs leaves their disks"
dpkg -P megafleet-agent >/srv/apt.log 2>&1
grep -q "is left" /srv/apt.log
[ "$(qemus)" = "$before" ]
for name in $(virsh list --name); do virsh destroy "$name"; virsh undefine "$name"; done >/dev/null
source_of apt
apt update
apt install megafleet-agent

say "purges, and nothing is left"
systemctl stop fleet-agent fleet-controller
dpkg -P $all >/srv/apt.log 2>&1 || { cat /srv/apt.log; fail "dpkg -P"; }
find / -xdev -name '*megafleet*' -not -path '/srv/*' -not -path '/usr/share/keyrings/*' \
  -not -path '/root/*' -not -path '/var/log/*' -not -path '/var/lib/apt/*' -not -path '/var/cache/*' \
  -not -path '/sys/*' -not -path '/proc/*' >/srv/after
diff /srv/before /srv/after
if getent passwd megafleet; then fail "its user is left"; fi
if find /etc /usr/bin /usr/lib/systemd /lib/systemd -name 'fleet-*' | grep .; then fail "left"; fi
say "done"
