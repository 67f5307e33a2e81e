"""A real browser for the tests: headless Chromium from Debian, driven by Selenium."""

import contextlib
import json
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness import eventually
from selenium import webdriver
from selenium.common.exceptions import (
    ElementClickInterceptedException,
    ElementNotInteractableException,
    StaleElementReferenceException,
    TimeoutException,
    WebDriverException,
)
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement

PHONE, DESK = (390, 844), (1440, 900)
_NOT_CLICKED = (
    StaleElementReferenceException,
    ElementNotInteractableException,
    ElementClickInterceptedException,
)
_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
)


@dataclass
class Browser:
    """A browser with one page, for the app at ``address``."""

    driver: Any
    address: str

    def open(self, path: str) -> None:
        """Load a page of the app."""
        self.driver.get(self.address + path)

    def set_view(self, size: tuple[int, int], *, dark: bool = False) -> None:
        """Set the size of the page and whether the system is dark."""
        width, height = size
        metrics = {
            "width": width,
            "height": height,
            "deviceScaleFactor": 1,
            "mobile": width < 600,
        }
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        features = [
            {"name": "prefers-color-scheme", "value": "dark" if dark else "light"},
            # Bootstrap scrolls smoothly: on a busy machine a click hits what passes by
            {"name": "prefers-reduced-motion", "value": "reduce"},
        ]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})

    def one(self, selector: str) -> WebElement:
        """Return the first element that a CSS selector finds; AssertionError if there is none."""
        found = self.driver.find_elements(By.CSS_SELECTOR, selector)
        assert found, f"{selector} is not on {self.driver.current_url}: {self.text[:300]}"
        return found[0]

    def press(self, text: str, *, timeout_s: float = 15.0) -> None:
        """Click the button, the link or the summary with this text.

        After a button, which sends a form, wait until the page has gone.
        """
        path = f'//*[self::button or self::a or self::summary][normalize-space(.)="{text}"]'

        def click() -> tuple[str, WebElement] | None:
            # what refreshes itself may replace an element between finding and clicking it; any
            # other error may come after the click, as when the page that it opens takes long
            with contextlib.suppress(*_NOT_CLICKED):
                shown = [e for e in self.driver.find_elements(By.XPATH, path) if e.is_displayed()]
                if shown:
                    found = shown[0].tag_name, self.one("html")
                    with contextlib.suppress(TimeoutException):
                        shown[0].click()
                    return found
            return None

        what = f"{text!r} can be pressed on {self.driver.current_url}"
        tag, page = eventually(click, timeout_s=timeout_s, what=what)
        if tag == "button":
            eventually(lambda: _has_gone(page), timeout_s=60, what=f"{text!r} opens a page")

    def fill(self, **fields: str) -> None:
        """Type into the fields with these names, in place of what is there."""
        for name, value in fields.items():
            field = self.one(f'[name="{name}"]')
            if field.tag_name != "select" and field.get_attribute("type") != "file":
                field.clear()
            field.send_keys(value)

    def text_at(self, selector: str) -> str:
        """Return what the first element shows that a CSS selector finds."""

        def read() -> str:
            with contextlib.suppress(WebDriverException):  # it is being replaced
                return str(self.one(selector).text)
            return ""

        return eventually(read, what=f"{selector} has a text")

    @property
    def text(self) -> str:
        """What the page shows."""
        return self.text_at("body")

    def wait_for(self, text: str, *, timeout_s: float = 20.0) -> None:
        """Wait until the page shows ``text``."""
        eventually(lambda: text in self.text, timeout_s=timeout_s, what=f"the page shows {text!r}")

    def picture(self, file: Path) -> None:
        """Save what is seen without scrolling, as PNG."""
        self.driver.save_screenshot(str(file))

    def run(self, script: str) -> Any:
        """Run a script in the page, by way of the debugger: the page's own policy stays."""
        given = {"expression": script, "awaitPromise": True, "returnByValue": True}
        found = self.driver.execute_cdp_cmd("Runtime.evaluate", given)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def requested(self) -> list[str]:
        """Return the addresses that were requested since this was asked last."""
        found = []
        for entry in self.driver.get_log("performance"):
            message = json.loads(entry["message"])["message"]
            if message["method"] == "Network.requestWillBeSent":
                found.append(message["params"]["request"]["url"])
        return found


def _has_gone(element: WebElement) -> bool:
    try:
        return element.tag_name is None
    except WebDriverException:
        return True


@contextlib.contextmanager
def browser(address: str, *, script: bool = True) -> Iterator[Browser]:
    """Yield a browser; without ``script`` it runs no JavaScript."""
    folder = tempfile.mkdtemp(prefix="flask-supervisor-browser-")
    options = webdriver.ChromeOptions()
    options.binary_location = "/usr/bin/chromium"
    for flag in (*_FLAGS, f"--user-data-dir={folder}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"performance": "ALL"})
    if not script:
        settings = {"profile.managed_default_content_settings.javascript": 2}
        options.add_experimental_option("prefs", settings)
    driver = webdriver.Chrome(options=options, service=Service("/usr/bin/chromedriver"))
    try:
        yield Browser(driver, address)
    finally:
        driver.quit()
        shutil.rmtree(folder, ignore_errors=True)
