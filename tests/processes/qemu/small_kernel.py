"""Kernels of a few hundred bytes that QEMU takes for Linux, for domains that are to be there rather
than to do anything: real-mode code behind the header of Linux's boot protocol.

They say READY on the serial port and sleep. One that writes fills its first disk before it sleeps,
and says FULL once it could.
"""

from __future__ import annotations

import struct

_READY, _FULL = 0x100, 0x110  # texts, in the first sector
_PACKET = 0x120  # of INT 13h, AH=43h (extended write)
_PRINT, _CODE = 0x300, 0x280  # in the file; the setup code's segment begins at 0x200
_SECTORS = 64  # at once


def small_kernel(writes_sectors: int = 0) -> bytes:
    """`writes_sectors`: of the first disk, from its beginning."""
    image = bytearray(2048)
    image[0x1F1] = 1  # sectors of setup code
    image[0x1FE:0x200] = b"\x55\xaa"
    image[0x200:0x202] = bytes((0xEB, _CODE - 0x202))  # jmp code
    image[0x202:0x206] = b"HdrS"
    image[0x206:0x208] = struct.pack("<H", 0x0202)
    image[0x211] = 1  # LOADED_HIGH
    image[_READY : _READY + 8] = b"READY\r\n\0"
    image[_FULL : _FULL + 7] = b"FULL\r\n\0"
    image[_PACKET : _PACKET + 16] = struct.pack("<BBHHHQ", 16, 0, _SECTORS, 0, 0x1000, 0)
    code = bytearray(_say(_READY, _CODE))
    if writes_sectors:
        loop = _CODE + len(code)
        code += b"\xb8\x00\x43\xb2\x80"  # mov ax, 0x4300; mov dl, 0x80
        code += b"\xbe" + struct.pack("<H", _PACKET)  # mov si, packet
        code += b"\xcd\x13"  # int 0x13
        where = struct.pack("<H", _PACKET + 8)
        code += b"\x66\x83\x06" + where + bytes((_SECTORS,))  # add dword [block], 64
        code += b"\x66\x81\x3e" + where + struct.pack("<I", writes_sectors)  # cmp
        code += bytes((0x72, (loop - (_CODE + len(code) + 2)) & 0xFF))  # jb loop
        code += _say(_FULL, _CODE + len(code))
    code += b"\xfb\xf4\xeb\xfc"  # sti; hlt; jmp to both
    image[_CODE : _CODE + len(code)] = code
    said = _printing()
    image[_PRINT : _PRINT + len(said)] = said
    return bytes(image)


def _say(text: int, at: int) -> bytes:
    """mov si, text; call print"""
    return b"\xbe" + struct.pack("<H", text) + b"\xe8" + struct.pack("<h", _PRINT - (at + 6))


def _printing() -> bytes:
    """Each character to 0x3f8 once the port takes it."""
    return bytes.fromhex(
        "ac"  # lodsb
        "84c0"  # test al, al
        "7412"  # jz return
        "88c3"  # mov bl, al
        "bafd03"  # mov dx, 0x3fd
        "ec"  # in al, dx
        "a820"  # test al, 0x20
        "74fb"  # jz in
        "88d8"  # mov al, bl
        "baf803"  # mov dx, 0x3f8
        "ee"  # out dx, al
        "ebe9"  # jmp lodsb
        "c3"  # ret
    )
