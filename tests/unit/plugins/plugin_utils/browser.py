# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A Chromium without a window, told over its debugging pipe what to do: no port, and nothing to install besides itself."""

from __future__ import annotations

import base64
import fcntl
import json
import os
import pathlib
import shutil
import subprocess

PROGRAM = next((found for found in map(shutil.which, ("chromium", "chromium-browser", "google-chrome")) if found), None)


class Browser:
    """with Browser(folder) as browser: browser.open(path, width=360)"""

    def __init__(self, folder: pathlib.Path) -> None:
        self._folder = folder
        self._number = 0
        self._rest = b""
        self.said: list[dict] = []

    def __enter__(self) -> Browser:
        hears, self._to = os.pipe()
        self._from, says = os.pipe()
        # The browser reads from 3 and writes to 4, which neither end may be in the way of.
        far = [fcntl.fcntl(end, fcntl.F_DUPFD, 10) for end in (hears, says)]
        self._process = subprocess.Popen(
            ["bash", "-c", f'exec 3<&{far[0]} 4>&{far[1]} "$@"', "bash", PROGRAM, "--headless", "--no-sandbox", "--disable-gpu",
             "--disable-dev-shm-usage", "--hide-scrollbars", "--no-first-run", "--remote-debugging-pipe", f"--user-data-dir={self._folder}", "about:blank"],
            pass_fds=far, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for end in [hears, says] + far:
            os.close(end)
        self._session = None
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.ask(domain + ".enable")
        return self

    def __exit__(self, *error: object) -> None:
        os.close(self._to)
        os.close(self._from)
        self._process.kill()
        self._process.wait(timeout=30)

    def ask(self, method: str, **params: object) -> dict:
        """The answer to one command; what happens meanwhile is kept in `said`."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._read()
            if answer.get("id") == self._number:
                assert "error" not in answer, answer
                return answer["result"]
            self.said.append(answer)

    def _read(self) -> dict:
        while b"\0" not in self._rest:
            more = os.read(self._from, 1 << 20)
            assert more, "the browser has ended"
            self._rest += more
        one, self._rest = self._rest.split(b"\0", 1)
        return json.loads(one)

    def open(self, path: pathlib.Path, width: int = 1200, height: int = 900, dark: bool = False, media: str = "screen") -> None:
        """Show a file and wait until it is there."""
        self.said = []
        self.ask("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600)
        self.ask("Emulation.setEmulatedMedia", media=media, features=[{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}])
        self.ask("Page.navigate", url=path.resolve().as_uri())
        while not any(event.get("method") == "Page.loadEventFired" for event in self.said):
            self.said.append(self._read())

    def value(self, expression: str) -> object:
        """What JavaScript says of the page."""
        return self.ask("Runtime.evaluate", expression=expression, returnByValue=True)["result"].get("value")

    def complaints(self) -> list[dict]:
        """What would be in the console."""
        return [event for event in self.said if event.get("method") in ("Log.entryAdded", "Runtime.consoleAPICalled", "Runtime.exceptionThrown")]

    def requests(self) -> list[str]:
        """What the page has loaded, itself among them."""
        return [event["params"]["request"]["url"] for event in self.said if event.get("method") == "Network.requestWillBeSent"]

    def picture(self, path: pathlib.Path, height: int | None = None) -> None:
        """A PNG of the whole page, or of its top."""
        size = self.ask("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": height or size["height"], "scale": 1}
        data = self.ask("Page.captureScreenshot", format="png", clip=clip, captureBeyondViewport=True)["data"]
        path.write_bytes(base64.b64decode(data))
