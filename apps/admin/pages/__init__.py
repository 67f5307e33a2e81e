"""What people see: one module a page, a blueprint each.

A page has a live part, which a script fetches again every two seconds; all forms work without it.
"""

from flask import Blueprint

from apps.admin.pages.app import app_page
from apps.admin.pages.checks import checks
from apps.admin.pages.configuration import configuration
from apps.admin.pages.events import events
from apps.admin.pages.logs import logs
from apps.admin.pages.machine import machine
from apps.admin.pages.machines import machines
from apps.admin.pages.overview import overview
from apps.admin.pages.releases import releases
from apps.admin.pages.settings import settings

BLUEPRINTS: tuple[Blueprint, ...] = (
    overview,
    app_page,
    logs,
    releases,
    events,
    checks,
    configuration,
    machine,
    machines,
    settings,
)
