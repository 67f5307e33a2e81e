"""Turns what a service is and does into the facts that health is made of."""

from supervisor.policy.health_document import AppFacts
from supervisor.supervision.app_process import AppProcess
from supervisor.supervision.member import Member
from supervisor.supervision.standin_manager import StandInManager
from supervisor.values.states import AppState


def app_facts(service: AppProcess, member: Member, stand_in: StandInManager) -> AppFacts:
    """Give the facts of one app, or of the status server."""
    port = member.port
    p50, p99 = port.counting.latencies_ms(0.5, 0.99)
    return AppFacts(
        name=member.name,
        port=port.address.port,
        address=port.address.public,
        control=port.control,
        life=member.view(service.life),
        since_wall=service.since_wall,
        stand_in_answers=stand_in.answers(member.name),
        foreign=port.foreign,
        stale=service.stale,
        version=service.keeper.version if service.life.state is AppState.READY else None,
        metrics=port.counting.total,
        latency_ms=(p50, p99),
        memory_mb=port.counting.memory_mb,
    )
