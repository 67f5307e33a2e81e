"""What `hardware` opens in the unit's sandbox: devices, groups, and kinds of sockets.

Devices by their groups of /proc/devices, as DeviceAllow= of systemd.resource-control(5) takes them:
those that are plugged in later are among them. The groups of users are those of Raspberry Pi OS.
"""

from collections.abc import Collection, Iterable

from supervisor.values.records import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """What one kind of hardware needs; ``files`` are the names of its devices, for hints."""

    group: str | None = None
    devices: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    families: tuple[str, ...] = ()


HARDWARE = {
    "gpio": Opening(
        group="gpio",
        devices=("char-gpiochip", "char-*gpiomem*"),
        files=("gpiochip", "gpiomem"),
    ),
    "i2c": Opening(group="i2c", devices=("char-i2c",), files=("i2c-",)),
    "spi": Opening(group="spi", devices=("char-spi",), files=("spidev",)),
    "serial": Opening(
        group="dialout",
        devices=("char-ttyS", "char-ttyAMA", "char-ttyUSB", "char-ttyACM"),
        files=("ttyS", "ttyAMA", "ttyUSB", "ttyACM", "serial"),
    ),
    "camera": Opening(
        group="video",
        devices=("char-video4linux", "char-media", "char-dma_heap", "char-vchiq"),
        files=("video", "media", "v4l", "dma_heap", "vchiq"),
    ),
    "audio": Opening(group="audio", devices=("char-alsa",), files=("snd",)),
    "can": Opening(families=("AF_CAN",)),
}


def kind_of(device: str) -> str | None:
    """Return the kind of hardware that a path in /dev belongs to, or None."""
    name = device.removeprefix("/dev/")
    kinds = (kind for kind, one in HARDWARE.items() if name.startswith(one.files or ("\0",)))
    return next(kinds, None)


def lines(kinds: Iterable[str], groups: Collection[str]) -> Iterable[str]:
    """Yield the settings that open exactly these kinds of hardware.

    ``groups`` are those that the machine has: a unit with an unknown one doesn't start.
    """
    opened = [HARDWARE[kind] for kind in HARDWARE if kind in set(kinds)]
    devices = [device for one in opened for device in one.devices]
    if devices:
        yield "PrivateDevices=no"
        yield "DevicePolicy=closed"
        yield from (f"DeviceAllow={device} rw" for device in devices)
    wanted = [one.group for one in opened if one.group in groups]
    if wanted:
        yield f"SupplementaryGroups={' '.join(str(group) for group in wanted)}"
    families = [family for one in opened for family in one.families]
    if families:
        yield f"RestrictAddressFamilies={' '.join(families)}"


def missing_groups(kinds: Iterable[str], groups: Collection[str]) -> list[str]:
    """Return the groups that these kinds need and the machine doesn't have."""
    wanted = (HARDWARE[kind].group for kind in kinds)
    return sorted({group for group in wanted if group is not None and group not in groups})
