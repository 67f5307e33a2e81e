"""Turns what a service is and does into the facts that health is made of."""

from supervisor.health import AppFacts
from supervisor.keeper import StandInKeeper
from supervisor.service import Service


def app_facts(service: Service, stand_in: StandInKeeper) -> AppFacts:
    """Give the facts of one app, or of the status server."""
    return AppFacts(
        name=service.name,
        port=service.address.port,
        address=service.address.public,
        control=service.control,
        life=service.life,
        since_wall=service.since_wall,
        stand_in_answers=stand_in.answers(service.name),
        foreign=service.foreign,
        stale=service.stale,
        figures=service.counting.total,
        latency_ms=(service.counting.latency_ms(0.5), service.counting.latency_ms(0.99)),
        memory_mb=service.counting.memory_mb,
    )
