"""What the messages of a worker do, without a worker."""

from types import SimpleNamespace
from typing import Any, cast

from supervisor.config.settings import BindSettings
from supervisor.policy.process_events import Bound, Spawn
from supervisor.policy.process_state import Limits
from supervisor.supervision.app_imports import AppImports
from supervisor.supervision.changes import ChangeSignal
from supervisor.supervision.code_comparison import CodeComparison
from supervisor.supervision.known_good import NoKnownGood
from supervisor.supervision.process_core import ProcessCore
from supervisor.supervision.worker_handle import WorkerHandle
from supervisor.supervision.worker_messages import WorkerMessages
from supervisor.values.metrics import Metrics


def core(signal: ChangeSignal) -> ProcessCore:
    """Return a process that forks nothing."""
    runtime: Any = SimpleNamespace(
        now=lambda: 100.0, wall=lambda: "", signal=signal, journal=SimpleNamespace(record=print)
    )

    def spawn(_action: Spawn) -> None:
        """Fork nothing."""

    return ProcessCore(
        runtime,
        name="coach",
        limits=Limits(import_timeout_s=10),
        bind_settings=BindSettings(),
        known_good=NoKnownGood(),
        spawn=spawn,
        import_app=lambda _name: None,
    )


def test_only_other_metrics_are_news_for_monitors() -> None:
    """A heartbeat with the metrics and the memory of the one before is none; any other is."""
    signal = ChangeSignal()
    process = core(signal)
    process.step(Bound())
    messages = WorkerMessages(process, AppImports(process), CodeComparison(process))
    worker = cast("WorkerHandle", SimpleNamespace(number=99, metrics=None, usage=None))
    news = []
    for total, memory_mb in ((0, 30.0), (0, 30.0), (1, 30.0), (1, 30.0), (1, 30.1), (0, 30.1)):
        metrics = {"coach": Metrics(total=total).to_json()}
        signal.unseen = False
        messages.handle(
            worker, {"type": "heartbeat", "at": 98.0, "memory_mb": memory_mb, "metrics": metrics}
        )
        news.append(signal.unseen)
    assert news == [True, False, True, False, True, True]
