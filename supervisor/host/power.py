"""Power and throttling, as the firmware of a Raspberry Pi reports them.

Two sources, both of the kernel:

* ``get_throttled`` of the firmware driver (raspberrypi/linux pull request 2397), a hexadecimal word
  with the bits of ``vcgencmd get_throttled``: what is so now, and what has been so since boot. The
  driver's folder is named after the address of its bus, so a Raspberry Pi 5 has another path, and
  kernels that are not Raspberry Pi's own don't have the file.
* ``in0_lcrit_alarm`` of the hwmon driver ``rpi_volt`` (Documentation/hwmon/raspberrypi-hwmon.rst):
  under-voltage within the last two seconds, and nothing else.
"""

from pathlib import Path
from typing import Any

from supervisor.host.source_files import folders, read_number, read_text

# https://www.raspberrypi.com/documentation/computers/os.html#get_throttled
_BITS = {"under_voltage": 0, "frequency_capped": 1, "throttled": 2, "soft_temperature_limit": 3}
_SINCE_BOOT = 16  # the same bits, this much higher
_FIRMWARE = ("soc/soc:firmware", "soc@*/soc@*:firmware", "soc@*/*firmware", "*firmware")


def power_facts(root: Path) -> dict[str, Any] | None:
    """Return what is wrong with the power now and was since boot, None on other machines.

    Keys: ``under_voltage`` and, from the firmware only, ``frequency_capped``, ``throttled``,
    ``soft_temperature_limit`` and ``since_boot`` with the same four; all values are booleans.
    """
    word = _firmware_word(root)
    if word is not None:
        return {
            **{name: bool(word >> bit & 1) for name, bit in _BITS.items()},
            "since_boot": {
                name: bool(word >> _SINCE_BOOT + bit & 1) for name, bit in _BITS.items()
            },
        }
    alarm = _alarm(root)
    return None if alarm is None else {"under_voltage": alarm}


def _firmware_word(root: Path) -> int | None:
    for place in _FIRMWARE:
        for folder in folders(root / "sys/devices/platform", place):
            word = read_number(folder / "get_throttled", base=16)
            if word is not None:
                return word
    return None


def _alarm(root: Path) -> bool | None:
    for chip in folders(root / "sys/class/hwmon", "hwmon*"):
        if read_text(chip / "name") == "rpi_volt":
            value = read_number(chip / "in0_lcrit_alarm")
            return None if value is None else value != 0
    return None
