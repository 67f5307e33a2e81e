"""The machine: load, memory, disks, heat, power, the SD card, the clock.

May use `values`. Start with `facts`, which returns everything that is known; `power`, `storage`,
`clock` and `system` each read one kind of source. A fact whose source is absent is left out of the
answer, never zero. Everything reads below a root folder, so that tests use trees of their own.
"""
