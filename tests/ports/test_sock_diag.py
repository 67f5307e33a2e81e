"""Who holds a port: the real kernel, real sockets and real processes."""

import contextlib
import ctypes
import dataclasses
import errno
import json
import os
import platform
import pwd
import select
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.ports import sock_diag
from supervisor.ports.sock_diag import Holder, SockDiagUnavailable

DEADLINE_S = 10.0
NOBODY = 65534
ME = pwd.getpwuid(os.geteuid()).pw_name

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: it changes the user")

# Waits for a line on stdin, listens, says on which port, and stays until stdin ends.
# Arguments: address, port, then any of: reuseport, fork.
LISTENER = """
import os, socket, sys
address, port, *options = sys.argv[1:]
sys.stdin.readline()
listener = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
if "reuseport" in options:
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
listener.bind((address, int(port)))
listener.listen()
if "fork" in options:
    forked = os.fork()
    if forked:
        print(listener.getsockname()[1], forked, flush=True)
else:
    print(listener.getsockname()[1], flush=True)
sys.stdin.read()
"""


def wait_until(condition: Callable[[], bool]) -> None:
    """Poll ``condition``; fail after `DEADLINE_S`."""
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)


@contextlib.contextmanager
def process(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Start a `LISTENER`, which waits for `start`; on leaving kill it and what it forked."""
    command = [sys.executable, "-c", LISTENER, *arguments]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as started:
        try:
            yield started
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(started.pid, 9)


def start(started: subprocess.Popen[str]) -> list[int]:
    """Let the process listen; return the numbers that it prints: port, forked pid."""
    assert started.stdin is not None
    assert started.stdout is not None
    started.stdin.write("go\n")
    started.stdin.flush()
    assert select.select([started.stdout], [], [], DEADLINE_S)[0], "it did not listen in time"
    return [int(word) for word in started.stdout.readline().split()]


@contextlib.contextmanager
def listening(address: str = "127.0.0.1", *options: str, port: int = 0) -> Iterator[list[int]]:
    """Return the pid and the port of another process that listens."""
    with process(address, str(port), *options) as started:
        yield [started.pid, *start(started)]


def in_child(function: Callable[[], Any], *, uid: int | None = None) -> Any:
    """Run ``function`` in a forked child, as user ``uid``; return its result, by way of JSON."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            if uid is not None:
                os.setgroups([])
                os.setgid(uid)
                os.setuid(uid)
            answer = json.dumps({"result": function()})
        except BaseException as error:
            answer = json.dumps({"raised": repr(error)})
        os.write(writer, answer.encode())
        os._exit(0)
    os.close(writer)
    try:
        assert select.select([reader], [], [], DEADLINE_S)[0], "the child did not answer in time"
        answer = json.loads(os.read(reader, 65536))
        assert "result" in answer, answer["raised"]
        return answer["result"]
    finally:
        os.close(reader)
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, 9)
        os.waitpid(pid, 0)


def holders_as_json(port: int) -> list[dict[str, object]]:
    """Return what `find_holders` returns as JSON, for a child."""
    return [dataclasses.asdict(holder) for holder in sock_diag.find_holders(port)]


@contextlib.contextmanager
def cgroup(name: str) -> Iterator[Path]:
    """Create a cgroup ``name`` at the top, or skip the test where that is not allowed."""
    for root in (Path("/sys/fs/cgroup"), Path("/sys/fs/cgroup/unified")):
        if (root / "cgroup.controllers").exists():
            break
    else:
        pytest.skip("no cgroup v2 here")
    folder = root / name
    try:
        folder.mkdir()
    except OSError as error:
        pytest.skip(f"cannot make a cgroup here: {error}")
    try:
        yield folder
    finally:
        wait_until(lambda: not (folder / "cgroup.procs").read_text())
        folder.rmdir()


def open_fds() -> set[str]:
    """Return this process's descriptors."""
    return set(os.listdir("/proc/self/fd"))


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    """Fail a test that leaves a descriptor or a process behind."""
    before = open_fds()
    yield
    assert open_fds() == before
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


ADDRESSES = [
    pytest.param("127.0.0.1", socket.AF_INET, id="ipv4"),
    pytest.param("::1", socket.AF_INET6, id="ipv6"),
    pytest.param("::", socket.AF_INET6, id="dual-stack"),
]


@pytest.mark.parametrize("reuseport", [False, True])
@pytest.mark.parametrize(("address", "family"), ADDRESSES)
def test_listeners_describes_a_listener(address: str, family: int, reuseport: bool) -> None:
    """A listener is found by its port, with the inode that its owner sees."""
    with socket.create_server((address, 0), family=family, reuse_port=reuseport) as listener:
        port = listener.getsockname()[1]
        (found,) = sock_diag.listeners(port)
        assert (found.family, found.address, found.port) == (family, address, port)
        assert found.inode == os.fstat(listener.fileno()).st_ino
        assert found.uid == os.geteuid()
        assert found.cgroup_id is None or found.cgroup_id > 0
    assert sock_diag.listeners(port) == []


def test_listeners_finds_both_families_at_one_port() -> None:
    """An IPv4 and an IPv6 listener at one port are two sockets."""
    with socket.create_server(("127.0.0.1", 0)) as first:
        port = first.getsockname()[1]
        with socket.create_server(("::1", port), family=socket.AF_INET6):
            assert [one.address for one in sock_diag.listeners(port)] == ["127.0.0.1", "::1"]


def test_only_sockets_that_listen_count() -> None:
    """Bound sockets, connections and listeners of other ports are not returned."""
    with socket.socket() as bound, socket.create_server(("127.0.0.1", 0)) as listener:
        bound.bind(("127.0.0.1", 0))
        assert sock_diag.listeners(bound.getsockname()[1]) == []
        with socket.create_connection(listener.getsockname()) as client:
            assert sock_diag.listeners(client.getsockname()[1]) == []
            assert len(sock_diag.listeners(listener.getsockname()[1])) == 1


def test_questions_leave_neither_thread_nor_descriptor() -> None:
    """A query leaves no thread and no descriptor, so an event loop may make it."""
    fds, threads = open_fds(), set(os.listdir("/proc/self/task"))
    sock_diag.listeners(1)
    sock_diag.time_wait_count(1)
    with pytest.raises(SockDiagUnavailable):
        sock_diag._dump(socket.AF_UNSPEC, 10, 1)
    assert (open_fds(), set(os.listdir("/proc/self/task"))) == (fds, threads)


def test_time_wait_sockets_are_counted() -> None:
    """The side that closes first keeps a TIME_WAIT socket, of either family."""
    with (
        socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True) as dual,
        socket.create_server(("127.0.0.1", 0)) as other,
    ):
        port = dual.getsockname()[1]
        assert sock_diag.time_wait_count(port) == 0
        for host, listener in [("::1", dual)] * 5 + [("127.0.0.1", dual), ("127.0.0.1", other)]:
            with socket.create_connection((host, listener.getsockname()[1])) as client:
                listener.accept()[0].close()
                assert client.recv(1) == b""
        wait_until(lambda: sock_diag.time_wait_count(port) == 6)
        wait_until(lambda: sock_diag.time_wait_count(other.getsockname()[1]) == 1)
        assert len(sock_diag.listeners(port)) == 1


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_the_holder_is_named(address: str) -> None:
    """Another process that listens is named with pid, command, command line and user."""
    with listening(address, "marker") as (pid, port):
        (holder,) = sock_diag.find_holders(port)
        assert (holder.pid, holder.user, holder.hidden) == (pid, ME, False)
        assert holder.command == Path(f"/proc/{pid}/comm").read_text().strip()
        assert holder.command_line is not None
        assert holder.command_line.startswith(sys.executable)
        assert f"pid {pid} ({sys.executable}" in sock_diag.describe(holder)
    assert sock_diag.find_holders(port) == []


def test_processes_that_share_a_port_are_all_named() -> None:
    """With SO_REUSEPORT two processes listen on one port: both are holders."""
    with (
        listening("127.0.0.1", "reuseport") as (first, port),
        listening("127.0.0.1", "reuseport", port=port) as (second, _),
    ):
        assert len(sock_diag.listeners(port)) == 2
        assert {holder.pid for holder in sock_diag.find_holders(port)} == {first, second}


def test_forked_processes_are_one_holder() -> None:
    """Of a forked pair that shares a listener the parent is named; after its end the child."""
    with process("127.0.0.1", "0", "fork") as parent:
        port, forked = start(parent)
        assert [holder.pid for holder in sock_diag.find_holders(port)] == [parent.pid]
        parent.kill()
        parent.wait(DEADLINE_S)
        assert [holder.pid for holder in sock_diag.find_holders(port)] == [forked]
        os.kill(forked, 9)
        wait_until(lambda: sock_diag.listeners(port) == [])


def test_a_process_on_both_families_is_one_holder() -> None:
    """One process with an IPv4 and an IPv6 listener at one port is named once."""
    with socket.create_server(("127.0.0.1", 0)) as first:
        port = first.getsockname()[1]
        with socket.create_server(("::1", port), family=socket.AF_INET6):
            assert [holder.pid for holder in sock_diag.find_holders(port)] == [os.getpid()]


def test_a_command_line_is_sanitised() -> None:
    """A command line is cut, and its control characters are replaced."""
    with listening("127.0.0.1", "\x1b[31m\nevil", "x" * 500) as (_, port):
        (holder,) = sock_diag.find_holders(port)
        assert holder.command_line is not None
        assert holder.command_line.isprintable()
        assert len(holder.command_line) == 200


@needs_root
def test_a_hidden_pid_still_has_its_user() -> None:
    """For an unprivileged user root's listener is named by its user alone."""
    with listening() as (_, port):
        (holder,) = in_child(lambda: holders_as_json(port), uid=NOBODY)
        assert holder["pid"] is None
        assert (holder["user"], holder["hidden"]) == ("root", True)


@needs_root
def test_the_unit_is_named_even_if_the_pid_is_hidden() -> None:
    """The unit is that of the process's cgroup or, for a hidden pid, of the socket's."""
    unit = f"sockdiag-test-{os.getpid()}.service"
    with cgroup(unit) as folder, process("127.0.0.1", "0") as started:
        (folder / "cgroup.procs").write_text(str(started.pid))
        (port,) = start(started)
        (seen,) = sock_diag.find_holders(port)
        assert (seen.pid, seen.unit) == (started.pid, unit)
        (hidden,) = in_child(lambda: holders_as_json(port), uid=NOBODY)
        assert (hidden["pid"], hidden["unit"]) == (None, unit)


class _Filter(ctypes.Structure):
    """A struct sock_fprog of linux/filter.h."""

    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p))


def forbid_netlink() -> None:
    """Make socket(AF_NETLINK) fail in this process, as systemd's RestrictAddressFamilies does."""
    socket_call = {"x86_64": 41, "aarch64": 198}[platform.machine()]
    instructions = (  # sock_filter: code, jump if true, jump if false, operand
        (0x20, 0, 0, 0),  # load seccomp_data.nr
        (0x15, 0, 3, socket_call),  # any other call: allow
        (0x20, 0, 0, 16),  # load the low half of seccomp_data.args[0], the family
        (0x15, 0, 1, socket.AF_NETLINK),  # any other family: allow
        (0x06, 0, 0, 0x00050000 | errno.EAFNOSUPPORT),  # SECCOMP_RET_ERRNO
        (0x06, 0, 0, 0x7FFF0000),  # SECCOMP_RET_ALLOW
    )
    code = b"".join(struct.pack("=HBBI", *instruction) for instruction in instructions)
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    assert prctl(38, 1, 0, 0, 0) == 0  # PR_SET_NO_NEW_PRIVS
    assert prctl(22, 2, ctypes.byref(_Filter(len(instructions), code))) == 0  # PR_SET_SECCOMP


needs_seccomp = pytest.mark.skipif(
    platform.machine() not in ("x86_64", "aarch64"), reason="knows the system calls of two machines"
)


@needs_seccomp
def test_a_sandbox_without_netlink_has_its_own_error() -> None:
    """Where sock_diag is forbidden, the error says so and keeps its errno."""

    def ask() -> int | None:
        forbid_netlink()
        try:
            return len(sock_diag.listeners(1))
        except SockDiagUnavailable as error:
            return error.errno

    assert in_child(ask) == errno.EAFNOSUPPORT


@needs_seccomp
@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
@pytest.mark.parametrize("uid", [None, pytest.param(NOBODY, marks=needs_root)])
def test_without_sock_diag_the_holder_is_still_named(address: str, uid: int | None) -> None:
    """Without sock_diag /proc/net/tcp leads to the same holder, also for hidden pids."""

    def ask() -> list[dict[str, object]]:
        forbid_netlink()
        return holders_as_json(port)

    with listening(address) as (pid, port):
        (holder,) = in_child(ask, uid=uid)
        assert holder["pid"] == (pid if uid is None else None)
        assert (holder["user"], holder["hidden"]) == (ME, uid is not None)


@needs_seccomp
def test_without_sock_diag_time_wait_is_still_counted() -> None:
    """Without sock_diag the table of connections is counted."""

    def ask() -> list[int]:
        forbid_netlink()
        return [sock_diag.time_wait_count(port), sock_diag.time_wait_count(1)]

    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        for _ in range(3):
            with socket.create_connection(("127.0.0.1", port)) as client:
                server.accept()[0].close()  # who closes first waits
                assert client.recv(1) == b""
        wait_until(lambda: in_child(ask) == [3, 0])


@pytest.mark.parametrize(
    ("holder", "words"),
    [
        (Holder(), "a process"),
        (Holder(pid=830), "pid 830"),
        (Holder(pid=830, command="python3"), "pid 830 (python3)"),
        (
            Holder(830, "python3", "python3 main.py", "pi", "x.service"),
            "pid 830 (python3 main.py, user pi, unit x.service)",
        ),
        (Holder(pid=830, user="uid 1234"), "pid 830 (uid 1234)"),
        (
            Holder(pid=830, unit="x.service", user_unit=True),
            "pid 830 (user unit x.service)",
        ),
        (Holder(user="root"), "a process of user root"),
        (Holder(user="uid 1234", unit="x.service"), "a process of uid 1234 (unit x.service)"),
        (
            Holder(user="root", unit="x.service", hidden=True),
            "a process of user root "
            "(unit x.service; its pid is hidden from this user: use sudo to see it)",
        ),
        (
            Holder(hidden=True),
            "a process (its pid is hidden from this user: use sudo to see it)",
        ),
    ],
)
def test_describe(holder: Holder, words: str) -> None:
    """A holder is described by what is known of it."""
    assert sock_diag.describe(holder) == words


SHOW = "sudo ss -ltnp 'sport = :7001'"


@pytest.mark.parametrize(
    ("holders", "command"),
    [
        ([], SHOW),
        ([Holder(user="root", hidden=True)], SHOW),
        ([Holder(pid=830, user="someone else")], "sudo kill 830"),
        ([Holder(pid=830, unit="x.service")], "sudo systemctl stop x.service"),
        ([Holder(unit="x.socket", hidden=True)], "sudo systemctl stop x.socket"),
        ([Holder(user="root"), Holder(pid=830)], "sudo kill 830"),
        # stopping these ends a login, or everything a user runs
        ([Holder(pid=830, unit="session-3.scope")], "sudo kill 830"),
        ([Holder(pid=830, unit="user@1000.service")], "sudo kill 830"),
        ([Holder(unit="session-3.scope", hidden=True)], SHOW),
        ([Holder(pid=1, unit="init.scope")], SHOW),
        (
            [Holder(pid=830, user="pi", unit="x.service", user_unit=True)],
            "sudo systemctl --user --machine=pi@.host stop x.service",
        ),
        ([Holder(unit="a b;c.service")], "sudo systemctl stop 'a b;c.service'"),
    ],
)
def test_next_command(holders: list[Holder], command: str) -> None:
    """The command ends the holder where that is safe, and shows it elsewhere."""
    assert sock_diag.next_command(holders, 7001) == command


def test_next_command_asks_for_sudo_only_where_needed() -> None:
    """Users end their own processes without sudo; those of root may need it."""

    def command() -> str:
        return sock_diag.next_command([Holder(pid=830, user=ME)], 7001)

    assert command() == ("sudo kill 830" if os.geteuid() == 0 else "kill 830")


@needs_root
def test_next_command_for_an_own_process_needs_no_sudo() -> None:
    """An unprivileged user ends an own process without sudo."""
    user = pwd.getpwuid(NOBODY).pw_name

    def command() -> str:
        return sock_diag.next_command([Holder(pid=830, user=user)], 7001)

    assert in_child(command, uid=NOBODY) == "kill 830"


@pytest.mark.parametrize(
    ("path", "unit", "user_unit"),
    [
        ("/", None, False),
        ("", None, False),
        ("/system.slice", None, False),
        ("/system.slice/x.service", "x.service", False),
        ("/system.slice/system-getty.slice/getty@tty1.service", "getty@tty1.service", False),
        ("/system.slice/x.service/inner.service", "x.service", False),
        ("/system.slice/docker-0a1b.scope", "docker-0a1b.scope", False),
        ("/docker/0a1b/system.slice/x.service", None, False),
        ("/init.scope", "init.scope", False),
        ("/system.slice/x.socket", "x.socket", False),
        ("/user.slice/user-1000.slice/session-3.scope", "session-3.scope", False),
        (
            "/user.slice/user-1000.slice/user@1000.service/app.slice/x.service",
            "x.service",
            True,
        ),
        (
            "/user.slice/user-1000.slice/user@1000.service/app.slice/app-a.slice/x.service/y.service",
            "x.service",
            True,
        ),
        (
            "/user.slice/user-1000.slice/user@1000.service/app.slice/vte-spawn-1.scope",
            "vte-spawn-1.scope",
            True,
        ),
        ("/user.slice/user-1000.slice/user@1000.service", "user@1000.service", False),
        ("/system.slice/evil\x1b.service", "evil?.service", False),
    ],
)
def test_unit_of_a_cgroup(path: str, unit: str | None, user_unit: bool) -> None:
    """A cgroup path is read as systemd reads it: the first folder that is no slice."""
    assert sock_diag._unit_of_path(path) == (unit, user_unit)


def netlink(kind: int, payload: bytes, *, length: int | None = None) -> bytes:
    """Build a netlink message, with a wrong ``length`` if given."""
    return struct.pack("=IHHII", length or 16 + len(payload), kind, 0, 0, 0) + payload


DONE = netlink(3, struct.pack("=i", 0))
SOCKET = netlink(20, bytes(72))


@pytest.mark.parametrize(
    ("datagram", "payloads", "done"),
    [
        (b"", 0, False),
        (SOCKET, 1, False),
        (SOCKET + SOCKET + DONE, 2, True),
        (DONE + SOCKET, 0, True),
        (netlink(20, bytes(73)) + bytes(3) + DONE, 1, True),
    ],
)
def test_a_datagram_is_split(datagram: bytes, payloads: int, done: bool) -> None:
    """Messages are collected until the one that ends the dump."""
    found: list[bytes] = []
    assert sock_diag._split(datagram, found) is done
    assert len(found) == payloads


@pytest.mark.parametrize(
    "datagram",
    [
        pytest.param(b"\0", id="no header"),
        pytest.param(SOCKET[:50], id="cut off"),
        pytest.param(netlink(20, b""), id="empty message"),
        pytest.param(struct.pack("=IHHII", 0, 20, 0, 0, 0) + bytes(72), id="length 0"),
        pytest.param(netlink(20, bytes(72), length=15), id="length below the header's"),
        pytest.param(netlink(2, b"\0"), id="error without errno"),
        pytest.param(netlink(3, b""), id="end without errno"),
    ],
)
def test_a_malformed_datagram_is_refused(datagram: bytes) -> None:
    """Impossible lengths raise an error and never cause an endless loop."""
    with pytest.raises(struct.error):
        sock_diag._split(datagram, [])


@pytest.mark.parametrize("kind", [2, 3])
def test_the_kernels_error_is_raised(kind: int) -> None:
    """NLMSG_ERROR and the end of a dump both may carry an errno."""
    with pytest.raises(OSError) as raised:
        sock_diag._split(netlink(kind, struct.pack("=i", -errno.ENOBUFS)), [])
    assert raised.value.errno == errno.ENOBUFS


@given(st.binary(max_size=300), st.binary(max_size=100))
def test_no_bytes_break_the_parser(datagram: bytes, attributes: bytes) -> None:
    """Any bytes are parsed or refused; malformed attributes count as absent."""
    found: list[bytes] = []
    with contextlib.suppress(struct.error, OSError):
        sock_diag._split(datagram + SOCKET + attributes, found)
    for payload in found:
        sock_diag._listening_socket(socket.AF_INET6, payload + attributes)


@pytest.mark.parametrize(
    ("attributes", "cgroup_id"),
    [
        (b"", None),
        (struct.pack("=HHQ", 12, 21, 7), 7),
        (struct.pack("=HHB3x", 5, 8, 0) + struct.pack("=HHQ", 12, 21, 7), 7),
        (struct.pack("=HHI", 8, 21, 7), None),
        (struct.pack("=HH", 12, 21), None),
        (struct.pack("=HH", 0, 21) + struct.pack("=HHQ", 12, 21, 7), 7),
    ],
)
def test_cgroup_attribute(attributes: bytes, cgroup_id: int | None) -> None:
    """The cgroup is found behind other attributes, and absent in a malformed one."""
    assert sock_diag._cgroup_id(attributes) == cgroup_id
