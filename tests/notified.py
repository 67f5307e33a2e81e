"""An imitation of systemd's end of a notify socket."""

import array
import os
import socket


class Listener:
    """A socket like systemd's, at a path or at an abstract address."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(f"\0{address[1:]}" if address.startswith("@") else address)
        self.socket.settimeout(5)
        self.stored: dict[str, list[socket.socket]] = {}

    def hear(self) -> tuple[list[str], list[int]]:
        """Return the lines of one message, and the descriptors that came with it."""
        fds = array.array("i")
        data, ancillary, _, _ = self.socket.recvmsg(4096, socket.CMSG_SPACE(fds.itemsize * 4))
        for _, _, payload in ancillary:
            fds.frombytes(payload)
        return data.decode().split("\n"), list(fds)

    def hear_all(self) -> list[str]:
        """Return every line received so far; store and remove descriptors as they ask."""
        said = []
        self.socket.setblocking(False)
        while True:
            try:
                lines, fds = self.hear()
            except BlockingIOError:
                self.socket.settimeout(5)
                return said
            said += lines
            fields = dict(line.split("=", 1) for line in lines)
            if "FDSTORE" in fields:
                kept = [socket.socket(fileno=fd) for fd in fds]
                self.stored.setdefault(fields["FDNAME"], []).extend(kept)
            elif "FDSTOREREMOVE" in fields:
                for one in self.stored.pop(fields["FDNAME"], []):
                    one.close()

    def hand_out(self) -> list[tuple[str, socket.socket]]:
        """Return copies of the stored descriptors, for the next process of the service."""
        return [
            (name, socket.socket(fileno=os.dup(one.fileno())))
            for name, kept in self.stored.items()
            for one in kept
        ]

    def close(self) -> None:
        """Close the socket, and all stored descriptors."""
        self.socket.close()
        for kept in self.stored.values():
            for one in kept:
                one.close()
