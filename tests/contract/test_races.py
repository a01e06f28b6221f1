"""Writers against each other: of all that create a key one wins, and no increment made by compare-and-swap is lost."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

from tests.contract.targets import MIB, Target, pattern

RACERS = 64
ROUNDS = 20


class _Racer:
    """One client with a connection of its own."""

    def __init__(self, store: Target) -> None:
        address = urlsplit(store.endpoint)
        self._store = store
        self._connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=60)

    def send(self, method: str, url: str, body: bytes = b"", **headers: str) -> tuple[int, str, bytes]:
        """Status, ETag and body of the answer."""
        address = urlsplit(url)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self._connection.request(method, f"{address.path}?{address.query}", body=body, headers=named)
        answer = self._connection.getresponse()
        return answer.status, answer.getheader("ETag", ""), answer.read()

    def close(self) -> None:
        self._connection.close()


def _race(store: Target, racers: int, run: Callable[[_Racer, int], None]) -> None:
    """Lets them all go at once."""
    gate = threading.Barrier(racers)

    def one(number: int) -> None:
        racer = _Racer(store)
        try:
            gate.wait(timeout=60)
            run(racer, number)
        finally:
            racer.close()

    with ThreadPoolExecutor(racers) as pool:
        for done in [pool.submit(one, number) for number in range(racers)]:
            done.result(timeout=120)


def test_of_all_that_create_a_key_one_wins(ours: Target) -> None:
    statuses: dict[int, dict[int, int]] = {number: {} for number in range(ROUNDS)}
    urls = {number: ours.signed("put_object", f"key-{number}") for number in range(ROUNDS)}

    def run(racer: _Racer, number: int) -> None:
        for turn in range(ROUNDS):
            body = f"{number}".encode()
            statuses[turn][number] = racer.send("PUT", urls[turn], body, If_None_Match="*")[0]

    _race(ours, RACERS, run)
    for turn, found in statuses.items():
        winners = [number for number, status in found.items() if status == 200]
        assert len(winners) == 1
        assert sorted(found.values()) == [200] + [412] * (RACERS - 1)
        assert ours.get(f"key-{turn}") == str(winners[0]).encode()


def test_of_all_that_create_a_large_key_one_wins(ours: Target) -> None:
    """Bodies in blobs, and one completion of parts among them."""
    upload_id, parts, whole = ours.upload("key", [5 * MIB, 10])
    url = ours.signed("put_object", "key")
    outcomes: list[tuple[str, bytes]] = []

    def run(racer: _Racer, number: int) -> None:
        body = pattern(300_000, seed=number)
        if number == 0:
            try:
                ours.complete("key", upload_id, parts, IfNoneMatch="*")
                outcomes.append(("won", whole))
            except ours.client.exceptions.ClientError:
                outcomes.append(("lost", whole))
        else:
            status = racer.send("PUT", url, body, If_None_Match="*")[0]
            outcomes.append(("won" if status == 200 else "lost", body))

    _race(ours, 16, run)
    winners = [body for outcome, body in outcomes if outcome == "won"]
    assert len(outcomes) == 16
    assert len(winners) == 1
    assert ours.get("key") == winners[0]


def test_no_increment_is_lost(ours: Target) -> None:
    ours.put("counter", b"0")
    put, get = ours.signed("put_object", "counter"), ours.signed("get_object", "counter")
    writers, increments = 12, 6

    def run(racer: _Racer, _: int) -> None:
        done = 0
        while done < increments:
            _, etag, body = racer.send("GET", get)
            if racer.send("PUT", put, str(int(body) + 1).encode(), If_Match=etag)[0] == 200:
                done += 1

    _race(ours, writers, run)
    assert ours.get("counter") == str(writers * increments).encode()


def test_a_reader_sees_one_object_whole(ours: Target) -> None:
    """However often the key is replaced or deleted while its bytes are streamed."""
    bodies = [pattern(600_000, seed=number) for number in range(4)]
    put, get = ours.signed("put_object", "key"), ours.signed("get_object", "key")
    delete = ours.signed("delete_object", "key")
    ours.put("key", bodies[0])

    def run(racer: _Racer, number: int) -> None:
        for turn in range(15):
            if number < 2:
                racer.send("PUT", put, bodies[(number + turn) % 4])
            elif number == 2 and turn % 5 == 0:
                racer.send("DELETE", delete)
            else:
                status, _, body = racer.send("GET", get)
                assert status == 404 or body in bodies

    _race(ours, 8, run)
