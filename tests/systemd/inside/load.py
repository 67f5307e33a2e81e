"""Clients of a service: pollers with a new connection per request, and keep-alive clients.

    load.py RATE CLIENTS URL...

RATE polls a second in all, and CLIENTS that ask 20 times a second each, go round the URLs
(http://127.0.0.1:PORT/PATH) until standard input ends. Then one JSON object says what they met.
A request is lost when no complete answer comes; any status counts as an answer.
"""

import asyncio
import json
import sys
import time
from collections import Counter
from itertools import cycle
from urllib.parse import urlsplit

TIMEOUT_S = 30.0
CLIENT_PAUSE_S = 0.05


class Load:
    """The outcomes so far."""

    def __init__(self) -> None:
        self.answers = 0
        self.refused = 0
        self.lost: list[str] = []
        self.statuses: Counter[str] = Counter()
        self.times: list[tuple[float, str]] = []  # seconds, URL
        self.stopped = False

    async def ask(self, url: str, connection: "Connection") -> None:
        """Make one request on ``connection``, which opens if it is closed."""
        began = time.monotonic()
        try:
            status = await asyncio.wait_for(connection.ask(url), TIMEOUT_S)
        except ConnectionRefusedError:
            self.refused += 1
            connection.close()
        except (TimeoutError, OSError, EOFError, ValueError) as error:
            self.lost.append(f"{url}: {error!r}, after {time.monotonic() - began:.3f} s")
            connection.close()
        else:
            self.answers += 1
            self.statuses[f"{urlsplit(url).port} {status}"] += 1
            self.times.append((time.monotonic() - began, url))

    async def poll(self, urls: list[str], rate: float) -> None:
        """Poll ``rate`` times a second, on a new connection each time."""
        running = set()
        due = time.monotonic()
        for url in cycle(urls):
            if self.stopped:
                break
            task = asyncio.create_task(self._once(url))
            running.add(task)
            task.add_done_callback(running.discard)
            due += 1 / rate
            await asyncio.sleep(max(0.0, due - time.monotonic()))
        await asyncio.gather(*running)

    async def _once(self, url: str) -> None:
        connection = Connection()
        await self.ask(url, connection)
        connection.close()

    async def keep_asking(self, urls: list[str]) -> None:
        """Make requests one after the other, on one connection for each server."""
        connections = {url: Connection(keep=True) for url in urls}
        for url in cycle(urls):
            if self.stopped:
                break
            await self.ask(url, connections[url])
            await asyncio.sleep(CLIENT_PAUSE_S)
        for connection in connections.values():
            connection.close()

    def result(self) -> dict[str, object]:
        """Return the outcomes; ``worst_ms`` by port."""
        ordered = sorted(seconds for seconds, _ in self.times)
        worst: dict[str, float] = {}
        for seconds, url in sorted(self.times):
            worst[str(urlsplit(url).port)] = round(seconds * 1000, 1)
        return {
            "answers": self.answers,
            "refused": self.refused,
            "lost": self.lost,
            "statuses": dict(self.statuses),
            "median_ms": round(ordered[len(ordered) // 2] * 1000, 1) if ordered else None,
            "worst_ms": worst,
        }


class Connection:
    """A connection to one server, opened when it is needed."""

    def __init__(self, *, keep: bool = False) -> None:
        self._keep = keep
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, url: str) -> int:
        """Make one request, and return the status when the answer is complete."""
        parts = urlsplit(url)
        if self._streams is None:
            self._streams = await asyncio.open_connection(parts.hostname, parts.port)
        reader, writer = self._streams
        last = "keep-alive" if self._keep else "close"
        head = [f"GET {parts.path or '/'} HTTP/1.1", f"Host: {parts.netloc}", f"Connection: {last}"]
        writer.write("\r\n".join([*head, "", ""]).encode())
        first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in lines if ": " in line)
        if "content-length" in headers:
            await reader.readexactly(int(headers["content-length"]))
        elif headers.get("transfer-encoding") == "chunked":
            while (size := int((await reader.readuntil(b"\r\n")).strip(), 16)) > 0:
                await reader.readexactly(size + 2)
            await reader.readuntil(b"\r\n")
        else:
            await reader.read()
            self.close()
        if headers.get("connection") == "close":
            self.close()
        return int(first.split(" ")[1])

    def close(self) -> None:
        """Close it; the next request opens another one."""
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


async def main() -> None:
    """Run until standard input ends."""
    rate, clients, *urls = sys.argv[1:]
    load = Load()
    work = [load.poll(urls, float(rate))]
    work += [
        load.keep_asking(urls[n % len(urls) :] + urls[: n % len(urls)]) for n in range(int(clients))
    ]
    tasks = [asyncio.create_task(one) for one in work]
    print("running", flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    load.stopped = True
    await asyncio.gather(*tasks)
    print(json.dumps(load.result()), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
