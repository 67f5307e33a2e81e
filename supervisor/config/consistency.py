"""Checks the keys of a configuration against each other: ports, shared processes, requirements.

The checks work on the tables as they are written, so that they report their mistakes beside those
in single values; what has the wrong type is left to `tables`.
"""

import os
from typing import Any

from supervisor.config import command_keys
from supervisor.config.problems import Problems, shown
from supervisor.config.settings import (
    REQUIREMENT_KEYS,
    RESERVED_NAMES,
    AppSettings,
    StatusSettings,
    SupervisorSettings,
    is_app_name,
)
from supervisor.config.waitress_options import check_options

Raw = dict[str, Any]
# By the apps of one process:
_SHARED = {"path": AppSettings.path, "python": AppSettings.python, "umask": AppSettings.umask}


def check(raw: Raw, problems: Problems, *, may_lack_apps: bool = False) -> None:
    """Add to ``problems`` what is wrong between the keys of a configuration."""
    _check_requires("requires", raw.get("requires"), problems)
    given = raw.get("apps", {})
    if not isinstance(given, dict):
        return
    if not given and not may_lack_apps:
        text = "no app is configured; add a table [apps.NAME] with `target` and `port`"
        problems.add("apps", text)
    apps = {name: app for name, app in given.items() if isinstance(app, dict)}
    _check_names(given, problems)
    _check_notify(raw.get("notify"), given, problems)
    _check_ports(raw, apps, problems)
    _check_processes(apps, problems)
    for name, app in apps.items():
        _check_app(name, app, problems)


def _check_names(apps: Raw, problems: Problems) -> None:
    for name in apps:
        if not is_app_name(name):
            text = (
                "this name can't be used; a name starts with a letter a-z, continues with a-z, "
                f"0-9 or _, and is not {' or '.join(sorted(RESERVED_NAMES))}"
            )
            problems.add(f"apps.{name}", text)


def _check_notify(destinations: object, apps: Raw, problems: Problems) -> None:
    """Add the unknown apps in the tables of `[[notify]]`."""
    for number, one in enumerate(destinations if isinstance(destinations, list) else ()):
        names = one.get("apps") if isinstance(one, dict) else None
        for place, name in enumerate(names if isinstance(names, list) else ()):
            if isinstance(name, str) and name not in apps:
                text = f"there is no such app; known: {', '.join(apps)}"
                problems.add_value(f"notify[{number}].apps[{place}]", name, text)


def _check_app(name: str, app: Raw, problems: Problems) -> None:
    """Check the keys of one app against each other."""
    path = f"apps.{name}"
    threads, most = app.get("threads", AppSettings.threads), app.get("max_threads")
    if type(threads) is int and type(most) is int and most < threads:
        text = f"must be at least `threads`, which is {threads}"
        problems.add_value(f"{path}.max_threads", most, text)
    if app.get("bind") == "app" and str(app.get("host", "")).startswith("unix:"):
        problems.add(f"{path}.host", 'an app with bind = "app" needs a TCP port')
    if app.get("bind") == "app" and app.get("workers", 1) != 1:
        problems.add(
            f"{path}.workers", 'must be 1 with bind = "app": only one process can bind a port'
        )
    if app.get("bind") == "app" and app.get("access_log"):
        text = 'has no effect with bind = "app": the app answers requests itself'
        problems.add(f"{path}.access_log", text)
    command_keys.check(path, app, problems)
    _check_requires(f"{path}.requires", app.get("requires"), problems)
    options = app.get("waitress")
    if isinstance(options, dict):
        check_options(options, f"{path}.waitress", problems)


def _check_requires(path: str, requirements: object, problems: Problems) -> None:
    """Add the keys that a requirement of its kind needs, or doesn't know."""
    known = {key for keys in REQUIREMENT_KEYS.values() for key in (*keys[0], *keys[1])}
    for number, one in enumerate(requirements if isinstance(requirements, list) else ()):
        kind = one.get("kind") if isinstance(one, dict) else None
        if not isinstance(kind, str) or kind not in REQUIREMENT_KEYS:
            continue
        needed, possible = REQUIREMENT_KEYS[kind]
        for key in needed:
            if key not in one or one[key] == []:
                problems.add(f"{path}[{number}].{key}", f"this key is required for {kind}")
        for key in known & one.keys() - {*needed, *possible}:
            problems.add(f"{path}[{number}].{key}", f"requirements of kind {kind} have no such key")


def _check_processes(apps: dict[str, Raw], problems: Problems) -> None:
    """Add what keeps apps from sharing a process."""
    processes: dict[str, list[str]] = {}
    for name, app in apps.items():
        process = app.get("process")
        if isinstance(process, str) and app.get("enabled") is not False:
            processes.setdefault(process, []).append(name)
    for process, names in processes.items():
        path = f"apps.{names[0]}.process"
        if process in RESERVED_NAMES:
            problems.add_value(path, process, "this name is reserved")
        elif process in apps and process not in names:
            problems.add_value(path, process, "is the name of an app outside this process")
        if len(names) > 1:
            _check_shared_process(names, apps, problems)


def _check_shared_process(names: list[str], apps: dict[str, Raw], problems: Problems) -> None:
    first, *others = names
    for name in others:
        for key, default in _SHARED.items():
            ours, theirs = apps[name].get(key, default), apps[first].get(key, default)
            if _normal(ours) != _normal(theirs):
                other = "none" if theirs is None else shown(theirs)
                text = f"apps of one process must have the same, and {first} has {other}"
                if ours is None:
                    problems.add(f"apps.{name}.{key}", text)
                else:
                    problems.add_value(f"apps.{name}.{key}", ours, text)
    for name in names:
        if apps[name].get("workers", 1) != 1:
            text = "apps of one process must have 1: they share the memory of one worker"
            problems.add(f"apps.{name}.workers", text)
    _check_shared_environment(names, apps, problems)


def _check_shared_environment(names: list[str], apps: dict[str, Raw], problems: Problems) -> None:
    set_by: dict[str, tuple[str, object]] = {}
    for name in names:
        for variable, value in _table(apps[name], "env").items():
            other, others_value = set_by.setdefault(variable, (name, value))
            if others_value != value:
                text = f"apps of one process share an environment, and {other} sets another value"
                problems.add(f"apps.{name}.env.{variable}", text)


def _check_ports(raw: Raw, apps: dict[str, Raw], problems: Problems) -> None:
    """Add apps without a port, and those whose port or Unix socket is taken."""
    default_host = _table(raw, "supervisor").get("host", SupervisorSettings.host)
    status = _table(raw, "status")
    status_port = status.get("port", StatusSettings.port)
    taken = {_place(status.get("host", default_host), status_port): "the status server"}
    for name, app in apps.items():
        if app.get("enabled") is False:
            continue
        host, port = app.get("host", default_host), app.get("port")
        place = _place(host, port)
        if place is None and port is None and command_keys.is_background(app):
            continue
        if place is None and port is None:
            problems.add(f"apps.{name}.port", "this key is required")
        elif place is not None and place in taken:
            key, value = ("port", port) if place is port else ("host", host)
            problems.add_value(f"apps.{name}.{key}", value, f"is already taken by {taken[place]}")
        else:
            taken[place] = f"app '{name}'"


def _place(host: object, port: object) -> str | int | None:
    """Return the port, or the normalised path of a Unix socket; None for a wrong type."""
    if isinstance(host, str) and host.startswith("unix:") and host != "unix:":
        return os.path.normpath(host.removeprefix("unix:"))
    return port if isinstance(port, int) else None


def _normal(path: object) -> object:
    return os.path.normpath(path) if isinstance(path, str) else path


def _table(raw: Raw, name: str) -> Raw:
    table = raw.get(name)
    return table if isinstance(table, dict) else {}
