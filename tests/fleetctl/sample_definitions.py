"""Definitions of guests as they are met: of xen-tools, of a fully virtualised guest, of libvirt."""

XEN_TOOLS = """\
#
# Configuration file for the Xen instance web.example.org, created by xen-tools
#
kernel      = '/boot/vmlinuz-6.1.0-18-amd64'
extra       = 'elevator=noop'
ramdisk     = '/boot/initrd.img-6.1.0-18-amd64'
vcpus       = '1'
memory      = '256'
root        = '/dev/xvda2 ro'
disk        = [
                  'file:/srv/xen/domains/web.example.org/disk.img,xvda2,w',
                  'phy:/dev/vg0/web.example.org-swap,xvda1,w',   # swap
              ]
name        = 'web.example.org'
dhcp        = 'dhcp'
vif         = [ 'mac=00:16:3E:AA:BB:CC,bridge=xenbr0' ]
on_poweroff = 'destroy'
on_reboot   = 'restart'
on_crash    = 'restart'
"""

HVM = """\
builder = "hvm"; name = "win"; memory = 2048; vcpus = 0x2
disk = [ "/dev/vg0/win,raw,hda,rw",
  "format=raw, vdev=hdc, access=r, devtype=cdrom,target=/i/w,1.iso"
]
disk += [ 'tap2:qcow2:/srv/data.qcow2,xvdb,w', '/dev/vg0/log,,xvdc,w' ]
vif = [ 'type=ioemu,bridge=br0', 'bridge=br1,mac=00:16:3e:00:00:01' ]
boot = "dc"
vnc = 1
bios = 'ovmf'
"""

DOMAIN = """\
<domain type='kvm' id='3' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>
  <name>debian13</name><uuid>9c7e5b86-dcb1-4e8a-9c4e-5f3d6d2b0b11</uuid>
  <memory unit='KiB'>1048577</memory><vcpu placement='static'>2</vcpu>
  <os firmware='efi'><type arch='x86_64' machine='pc-q35-7.2'>hvm</type><boot dev='hd'/></os>
  <cpu mode='host-passthrough'/>
  <devices><emulator>/usr/bin/qemu-system-x86_64</emulator>
    <disk type='file' device='disk'><driver name='qemu' type='qcow2'/>
      <source file='/var/lib/libvirt/images/debian13.qcow2'/><target dev='vda' bus='virtio'/></disk>
    <disk type='file' device='cdrom'><driver name='qemu' type='raw'/>
      <source file='/srv/seed/debian13.iso'/><target dev='sda' bus='sata'/><readonly/></disk>
    <disk type='network' device='disk'><source protocol='rbd' name='p/i'/><target dev='vdb'/></disk>
    <interface type='network'><mac address='52:54:00:6b:29:aa'/>
      <source network='default'/></interface>
    <interface type='bridge'><mac address='52:54:00:6b:29:ab'/><source bridge='br0'/>
      <vlan><tag id='42'/></vlan></interface>
    <graphics type='spice'/><rng model='virtio'/>
  </devices>
  <qemu:commandline><qemu:arg value='-s'/></qemu:commandline>
</domain>
"""
