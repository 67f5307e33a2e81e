"""Steers the connections of a port to one of the listeners that share it.

Listeners at one address, bound with ``SO_REUSEPORT``, form a group, and the kernel gives each new
connection to one of them. Which one, a small program of classic BPF decides
(``SO_ATTACH_REUSEPORT_CBPF``, socket(7), since Linux 4.5; no privilege is needed): it returns the
listener's place in the group, in the order of `listen`. So a program that is about to end gets no
new connection, and still accepts what has reached its own listener.
"""

import ctypes
import socket
import struct

_SO_ATTACH_REUSEPORT_CBPF = 51  # asm-generic/socket.h; the same on x86 and ARM
_NET = 0xFFF00000  # SKF_NET_OFF of linux/filter.h: loads from the network header on
_LOAD_BYTE, _LOAD_HALF = 0x30, 0x28  # BPF_LD | BPF_ABS, with BPF_B or BPF_H
_SHIFT_RIGHT = 0x74  # BPF_ALU | BPF_RSH | BPF_K
_JUMP, _JUMP_IF_EQUAL = 0x05, 0x15  # BPF_JMP | BPF_JA; BPF_JMP | BPF_JEQ | BPF_K
_RETURN = 0x06  # BPF_RET | BPF_K
_IPV4_HEADER, _IPV6_HEADER = 20, 40  # bytes; our own SYN carries no IP options

_Instruction = tuple[int, int, int, int]  # struct sock_filter: code, jt, jf, k


def steer(listener: socket.socket, place: int) -> None:
    """Give each new connection to the listener at ``place`` in the group of ``listener``.

    Raises OSError where the kernel can't do that, as for a Unix socket.
    """
    _attach(listener, [(_RETURN, 0, 0, place)])


def steer_one(listener: socket.socket, place: int, *, from_port: int, others: int) -> None:
    """Give connections from ``from_port`` to the listener at ``place``, others to ``others``.

    For a client on this machine that has to reach one listener before all clients do. Raises as
    `steer`.
    """
    _attach(
        listener,
        [
            (_LOAD_BYTE, 0, 0, _NET),
            (_SHIFT_RIGHT, 0, 0, 4),
            (_JUMP_IF_EQUAL, 2, 0, 6),  # IPv6
            (_LOAD_HALF, 0, 0, _NET + _IPV4_HEADER),  # the source port
            (_JUMP, 0, 0, 1),
            (_LOAD_HALF, 0, 0, _NET + _IPV6_HEADER),
            (_JUMP_IF_EQUAL, 0, 1, from_port),
            (_RETURN, 0, 0, place),
            (_RETURN, 0, 0, others),
        ],
    )


def _attach(listener: socket.socket, program: list[_Instruction]) -> None:
    code = b"".join(struct.pack("HBBI", *instruction) for instruction in program)
    buffer = ctypes.create_string_buffer(code, len(code))
    filter_program = struct.pack("@HP", len(program), ctypes.addressof(buffer))  # sock_fprog
    listener.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_REUSEPORT_CBPF, filter_program)
