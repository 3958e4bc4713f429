"""A headless Chromium, led over its DevTools protocol: opens a page, gives it a file, and tells what it asked for."""

import base64
import json
import shutil
import subprocess
import time
import urllib.request

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
_PATIENCE = 60.0  # seconds


class Browser:
    """requests: every address that pages asked for. console: what they printed there, and errors."""

    def __init__(self, profile, width=1000, height=1400):
        from websockets.sync.client import connect

        self.requests, self.console, self._number = [], [], 0
        self._process = subprocess.Popen(
            [
                *(CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"),
                *("--remote-debugging-port=0", f"--user-data-dir={profile}", "--no-first-run"),
                *(f"--window-size={width},{height}", "about:blank"),
            ],
            stderr=subprocess.DEVNULL,
        )
        port_file = profile / "DevToolsActivePort"
        self._until(lambda: port_file.exists() and port_file.read_text().count("\n"))
        port = port_file.read_text().splitlines()[0]
        pages = json.load(urllib.request.urlopen(f"http://127.0.0.1:{port}/json/list"))
        address = next(p for p in pages if p["type"] == "page")["webSocketDebuggerUrl"]
        self._socket = connect(address, max_size=None).__enter__()
        for domain in ("Page", "Network", "Runtime", "Log", "DOM"):
            self.call(f"{domain}.enable")

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self._socket.__exit__(*error)
        self._process.terminate()
        self._process.wait(10)

    def call(self, method, **params):
        self._number += 1
        self._socket.send(json.dumps({"id": self._number, "method": method, "params": params}))
        while True:
            message = json.loads(self._socket.recv(_PATIENCE))
            self._heard(message)
            if message.get("id") == self._number:
                return message["result"]

    def text(self):
        found = self.call("Runtime.evaluate", expression="document.body.innerText")
        return found["result"].get("value", "")

    def open(self, address, until):
        self.call("Page.navigate", url=address)
        self._until(lambda: until in self.text())

    def give(self, paths, until):
        """Files to the page's one file input."""
        root = self.call("DOM.getDocument")["root"]["nodeId"]
        node = self.call("DOM.querySelector", nodeId=root, selector="input[type=file]")["nodeId"]
        self.call("DOM.setFileInputFiles", nodeId=node, files=list(map(str, paths)))
        self._until(lambda: until in self.text())

    def picture(self):
        return base64.b64decode(self.call("Page.captureScreenshot")["data"])

    def _heard(self, message):
        params = message.get("params", {})
        if message.get("method") == "Network.requestWillBeSent":
            self.requests.append(params["request"]["url"])
        if message.get("method") in ("Runtime.exceptionThrown", "Log.entryAdded"):
            self.console.append(str(params))

    def _until(self, true):
        end = time.monotonic() + _PATIENCE
        while not true():
            if time.monotonic() > end:
                raise TimeoutError(self.text())
            time.sleep(0.1)
