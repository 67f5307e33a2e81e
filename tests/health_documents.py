"""Health documents for the tests of whatever reads them."""

import copy
from typing import Any

from supervisor.values.metrics import LATENCY_BOUNDS_MS

REQUESTS: dict[str, Any] = {
    "total": 115,
    "by_class": {"1xx": 0, "2xx": 100, "3xx": 5, "4xx": 7, "5xx": 3},
    "rejected": 2,
    "in_flight": 3,
    "queue": 1,
    "oldest_s": 0.5,
    "threads": 4,
    "busy": 2,
    "max_threads": 32,
    "connections": 6,
    "latency_ms": {"p50": 3.0, "p99": 80.0},
    "latency_counts": [60, 40, 0, 10, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0],
    "latency_sum_s": 2.25,
}
assert len(REQUESTS["latency_counts"]) == len(LATENCY_BOUNDS_MS) + 1
APP = {
    "status": "pass",
    "state": "ready",
    "serving": "app",
    "port": 5001,
    "address": "0.0.0.0:5001",
    "pid": 831,
    "workers": [{"pid": 831, "generation": 3, "state": "ready"}],
    "generation": 3,
    "restarts": 1,
    "since": "2026-01-01T00:00:00Z",
    "age_s": 60.0,
    "reason": None,
    "hint": None,
    "refusal": None,
    "stale": False,
    "release": {"digest": "0123456789ab", "commit": "abcdef0", "dirty": False},
    "retry_in_s": None,
    "requests": REQUESTS,
    "memory_mb": 40.5,
}
BROKEN = {
    **APP,
    "status": "fail",
    "state": "backoff",
    "serving": "stand-in",
    "pid": None,
    "workers": [],
    "restarts": 4,
    "reason": "ModuleNotFoundError: No module named 'x' (coach.py, line 3)",
    "hint": "pip install x",
    "release": None,
    "memory_mb": None,
}
CHECK = {"status": "pass", "reason": None, "hint": None, "critical": True}
HOST = {
    "model": "Raspberry Pi 4 Model B Rev 1.4",
    "boot_id": "f1d2a3b4-0c5d-4e6f-8a9b-0c1d2e3f4a5b",
    "uptime_s": 1000.5,
    "cpu": {"count": 4, "percent": 12.5},
    "load": {"1m": 0.5, "5m": 0.25, "15m": 0.1},
    "memory": {"total_mb": 4096.0, "available_mb": 1024.0, "free_percent": 25.0},
    "swap": {"total_mb": 100.0, "used_mb": 1.0},
    "disks": {
        "state_dir": {
            "total_mb": 1000.0,
            "free_mb": 500.0,
            "free_percent": 50.0,
            "read_only": False,
        },
        "root": {"total_mb": 1000.0, "free_mb": 500.0, "free_percent": 50.0, "read_only": False},
    },
    "temperature_c": 48.2,
    "clock_synchronised": True,
    "power": {
        "under_voltage": False,
        "frequency_capped": False,
        "throttled": False,
        "soft_temperature_limit": False,
        "since_boot": {
            "under_voltage": True,
            "frequency_capped": False,
            "throttled": False,
            "soft_temperature_limit": False,
        },
    },
    "sd_card": {"device": "mmcblk0", "kind": "SD", "read_only": False, "errors": 0},
}


def health_document(**changes: Any) -> dict[str, Any]:
    """Return a whole health document of a machine that is well, with two apps."""
    document = {
        "status": "pass",
        "version": "0.1.0",
        "pid": 830,
        "started": "2026-01-01T00:00:00Z",
        "age_s": 3600.0,
        "main_loop_lag_s": 0.002,
        "apps": {"admin": APP, "coach": {**APP, "port": 5002}},
        "checks": {
            "main_process": CHECK,
            "coach: tcp localhost:6379": {**CHECK, "app": "coach", "failures": 0},
        },
        "host": HOST,
        "event_counts": {"": {"started": 1}, "coach": {"ready": 2, "exited": 1}},
        "events": [],
    }
    return {**copy.deepcopy(document), **changes}
