"""The admin app in a real browser, under a real supervisor."""

import contextlib
import itertools
import time
from collections.abc import Iterator
from pathlib import Path

import axe_core_python
import pytest
from admin_case import PASSWORD
from admin_site import COACH, Site, archive, site
from harness import ask, eventually
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.keys import Keys

pytestmark = [
    pytest.mark.debian("chromium"),
    pytest.mark.debian("chromium-driver", program="chromedriver"),
]
browsing = pytest.importorskip("browser")

PHONE, DESK = browsing.PHONE, browsing.DESK
PAGES = (
    "/",
    "/apps/coach",
    "/apps/coach/logs",
    "/apps/coach/releases",
    "/apps/coach/releases?old=live&new=live",
    "/events",
    "/checks",
    "/configuration",
    "/configuration/edit",
    "/machine",
    "/machines",
    "/settings",
    "/settings/password",
    "/deploy",
    "/nothing",
)
AXE = Path(axe_core_python.__file__).with_name("axe.min.js")
BROKEN = "import nosuch_module\n"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A supervisor for all tests of this module."""
    with site(tmp_path_factory.mktemp("browser") / "project") as made:
        yield made


@contextlib.contextmanager
def logged_in(
    running: Site,
    *,
    script: bool = True,
    size: tuple[int, int] = PHONE,
    dark: bool = False,
) -> Iterator["browsing.Browser"]:
    """Yield a browser of somebody who has logged in."""
    with browsing.browser(running.address, script=script) as browser:
        browser.set_view(size, dark=dark)
        browser.open("/")
        browser.fill(password=PASSWORD)
        browser.press("Log in")
        browser.wait_for("What happened")
        yield browser


def test_no_page_has_barriers_or_needs_the_internet(running: Site) -> None:
    """axe finds nothing serious, nothing leaves the machine, nothing scrolls sideways."""
    with logged_in(running) as browser:
        for size, dark in itertools.product((PHONE, DESK), (False, True)):
            browser.set_view(size, dark=dark)
            for path in PAGES:
                browser.open(path)
                assert not barriers(browser), (path, size, dark)
        away = [
            one for one in browser.requested() if not one.startswith((running.address, "data:"))
        ]
        assert not [one for one in away if not one.startswith(("chrome", "about:"))]


@pytest.mark.parametrize("script", [True, False], ids=["", "no JavaScript"])
@pytest.mark.parametrize("size", [PHONE, DESK], ids=["phone", "desk"])
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_an_operators_day(
    running: Site, tmp_path: Path, script: bool, size: tuple[int, int], dark: bool
) -> None:
    """Break the app, see why, repair it; deploy, roll back, follow the log."""
    port = running.project.port("coach")
    deployed = f"deployed {script} {size} {dark}"
    with logged_in(running, script=script, size=size, dark=dark) as browser:
        browser.wait_for("All 2 apps are ready")
        # broken: why, and what still serves
        browser.open("/apps/coach")
        running.write_coach("broken", BROKEN)
        browser.press("Reload")
        eventually(lambda: "No module named 'nosuch_module'" in alert(browser), what="the reason")
        assert ask(port).status == 200
        browser.wait_for("Roll back …")  # one button back to what worked
        assert not script or not barriers(browser)  # without, the page loads anew meanwhile
        # repaired
        running.write_coach("repaired")
        browser.press("Reload")
        eventually(lambda: ask(port).text == "repaired\n", what="the repaired app serves")
        eventually(lambda: "nosuch_module" not in alert(browser), what="the page says so")
        # restarted, after a question
        pid = running.worker_of("coach")
        confirm(browser, "Restart", script=script)
        eventually(lambda: running.worker_of("coach") not in (0, pid), what="another worker")
        # a bad archive, and a good one
        deploy(browser, tmp_path / "bad.tar.gz", BROKEN)
        browser.wait_for("Refused, nothing was changed", timeout_s=60)
        assert "nosuch_module" in browser.text
        assert not script or not barriers(browser)
        assert ask(port).text == "repaired\n"
        deploy(browser, tmp_path / "good.tar.gz", COACH.format(text=deployed))
        browser.wait_for("Done: the deploy of good.tar.gz", timeout_s=60)
        assert ask(port).text == f"{deployed}\n"
        # back to what was in place before
        browser.open("/apps/coach/releases")
        browser.press("Compare")
        browser.wait_for("From live to")
        assert "coach.py" in browser.text
        confirm(browser, "Roll back", script=script)
        browser.wait_for("Done: the rollback of app 'coach'", timeout_s=60)
        assert ask(port).text != f"{deployed}\n"
        # a mistake in the configuration: explained, and kept in the form
        browser.open("/configuration/edit")
        browser.one("textarea").send_keys("\n[apps.coach2]\nprot = 1\n")
        browser.press("Apply")
        browser.wait_for('unknown key; did you mean "port"?')
        assert "prot = 1" in (browser.one("textarea").get_attribute("value") or "")
        assert "prot" not in running.project.config.read_text()
        # the log, as it grows
        browser.open("/apps/coach/logs?follow=on")
        ask(port)
        browser.wait_for("a visitor came")
        browser.open("/apps/coach/logs?level=error")
        browser.wait_for("Traceback (most recent call last)")
        assert 'coach.py", line 1, in <module>' in browser.text
        assert "a visitor came" not in browser.text
        assert "the operator from 127.0.0.1" in events(browser)


def confirm(browser: "browsing.Browser", text: str, *, script: bool) -> None:
    """Press what asks first, and confirm it: without a script, the page may load anew meanwhile."""
    for is_last in (script, False, True):
        browser.press(f"{text} …")
        try:
            browser.press(text, timeout_s=15.0 if is_last else 3.0)
        except AssertionError:
            if is_last:
                raise
        else:
            return


def barriers(browser: "browsing.Browser") -> list[str]:
    """Return what axe finds serious on the page, and whether it scrolls sideways."""
    browser.run(AXE.read_text(encoding="utf-8") + ";0")
    found: list[str] = browser.run(
        "axe.run().then(r => r.violations"
        ".filter(v => ['serious', 'critical'].includes(v.impact))"
        ".map(v => v.id + ': ' + v.nodes.map(n => n.target.join(' '))))"
    )
    wide = browser.run("document.documentElement.scrollWidth - innerWidth")
    return [*found, *([f"{wide} px too wide"] if wide > 0 else [])]


def alert(browser: "browsing.Browser") -> str:
    """Return the text of the page's headline."""
    return str(browser.text_at("#live .alert"))


def events(browser: "browsing.Browser") -> str:
    """Return what the page of events says: what a second person sees of the first."""
    browser.open("/events?kind=audit")
    return str(browser.text)


def deploy(browser: "browsing.Browser", file: Path, source: str) -> None:
    """Upload an archive with this source of the coach app."""
    file.write_bytes(archive(coach=source))
    browser.open("/apps/coach/releases")
    browser.fill(archive=str(file))
    browser.press("Deploy")


def test_the_page_says_why_within_three_seconds(running: Site) -> None:
    """The open overview names the reason soon after the supervisor knows it, above the fold."""
    with logged_in(running) as browser:
        running.write_coach("broken", BROKEN)
        running.api("POST", "/apps/coach/reload")
        running.running.wait_for("coach", says="nosuch_module", timeout_s=30)
        known = time.monotonic()
        browser.wait_for("No module named 'nosuch_module'")
        took_s = time.monotonic() - known
        lowest = browser.run("document.querySelector('.alert').getBoundingClientRect().bottom")
        running.write_coach("repaired")
        running.api("POST", "/apps/coach/reload")
        eventually(lambda: "nosuch_module" not in alert(browser), what="the page says so")
        assert took_s < 3
        assert lowest < PHONE[1]


def test_a_refresh_disturbs_nobody(running: Site) -> None:
    """What is open, focused or being pressed stays so, however long the press takes."""
    with logged_in(running) as browser:
        browser.open("/apps/coach")
        browser.press("Stop …")
        browser.one("#logs").send_keys(Keys.SHIFT)  # focuses it
        refreshed(browser)
        assert browser.run("document.activeElement.id") == "logs"
        assert browser.run("document.querySelector('#stop').open")
        generation = running.running.app("coach")["generation"]
        press = ActionChains(browser.driver).click_and_hold(browser.one("#reload"))
        press.perform()
        refreshed(browser, shown=False)
        press.release().perform()
        browser.wait_for("coach is being reloaded")
        eventually(lambda: running.running.app("coach")["generation"] > generation)


def refreshed(browser: "browsing.Browser", *, shown: bool = True) -> None:
    """Wait until the page has fetched its live part, and ``shown`` it or not."""
    browser.run("document.querySelector('#live').firstElementChild.dataset.old = 1")
    browser.requested()
    if shown:
        eventually(lambda: not browser.run("!!document.querySelector('#live [data-old]')"))
    else:
        eventually(browser.requested, what="the page asks for its live part")


def test_the_page_survives_a_restart_of_the_admin_app(running: Site) -> None:
    """It keeps the last picture meanwhile, and goes on when the app is back."""
    with logged_in(running) as browser:
        pid = running.worker_of("admin")
        browser.open("/apps/admin")
        browser.press("Restart …")
        browser.press("Restart")
        eventually(lambda: running.worker_of("admin") not in (0, pid), timeout_s=60)
        browser.open("/")
        eventually(lambda: "All 2 apps are ready" in browser.text, timeout_s=60)
        assert "No connection" not in browser.text
