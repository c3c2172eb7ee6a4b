"""Promise: whatever was acknowledged is there exactly once after kill -9 under load.

Several producers stream numbered batches, each batch with a path of its own. The server is killed
at random moments and started again; producers go on with what was not acknowledged, as a
collector does. In the end every acknowledged batch is there whole and once, every batch is there
whole or not at all, and nothing is there that was never sent.
"""
import os
import random
import sys
import threading
import time

from harness import Tallyd, execute, grpc, request, rpc, run

PRODUCERS, KILLS, ROWS = 6, int(os.environ.get("TALLY_KILLS", "6")), 200


class Producer(threading.Thread):
    def __init__(self, number, server):
        super().__init__(daemon=True)
        self.number, self.server = number, server
        self.acked, self.sent, self.stop = set(), 0, False
        self.failure = None

    def marker(self, sequence):
        return "/%d/%d" % (self.number, sequence)

    def run(self):
        try:
            while not self.stop:
                self.stream()
        except Exception as e:
            self.failure = e

    def stream(self):
        """One connection's life: the first unacknowledged batch again, then new ones."""
        def requests():
            sequence = len(self.acked) + 1
            while not self.stop:
                if sequence - len(self.acked) > 40:  # in flight
                    time.sleep(0.001)
                    continue
                self.sent = max(self.sent, sequence)
                yield request(ROWS, b"producer-%d" % self.number, sequence,
                              merchant=self.number, path=self.marker(sequence))
                sequence += 1

        with grpc.insecure_channel(self.server.grpc,
                                   options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
            try:
                for a in rpc.IngestStub(channel).Append(requests()):
                    assert a.code == 0, a
                    assert a.duplicate or a.rows == ROWS, a
                    assert a.sequence == len(self.acked) + 1, (a.sequence, len(self.acked))
                    self.acked.add(a.sequence)
            except grpc.RpcError as e:
                assert e.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED), e
                time.sleep(0.02)


def acknowledged_batches_survive():
    seed = int(os.environ.get("TALLY_SEED", time.time()))
    print("seed %d" % seed)
    chance = random.Random(seed)
    with Tallyd() as server:
        producers = [Producer(n + 1, server) for n in range(PRODUCERS)]
        for p in producers:
            p.start()
        for _ in range(KILLS):
            time.sleep(chance.uniform(0.05, 0.8))
            server.kill()
            # What was acknowledged before the kill must be there at once after the start.
            before = [set(p.acked) for p in producers]
            started = time.time()
            server.start()
            check(server, producers, before)
            assert time.time() - started < 30
        time.sleep(0.5)
        for p in producers:
            p.stop = True
        for p in producers:
            p.join(20)
            assert p.failure is None, p.failure
        total = check(server, producers, [set(p.acked) for p in producers])
        server.stop()
        server.start()
        assert check(server, producers, [set(p.acked) for p in producers]) >= total
        assert total > PRODUCERS * 10
        print("%d batches acknowledged, %d sent, %d kills" % (
            total, sum(p.sent for p in producers), KILLS))


def check(server, producers, acked):
    with grpc.insecure_channel(server.grpc,
                               options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
        rows = execute(rpc.QueryStub(channel),
                       "SELECT path, count(*) FROM events GROUP BY path")
    there = dict(rows)
    assert len(there) == len(rows)
    for path, n in there.items():
        assert n == ROWS, "%s has %d rows" % (path, n)
        _, producer, sequence = path.split("/")
        p = producers[int(producer) - 1]
        assert 1 <= int(sequence) <= p.sent, "%s was never sent" % path
    for p, known in zip(producers, acked):
        for sequence in known:
            assert p.marker(sequence) in there, "acknowledged, and lost: " + p.marker(sequence)
    return sum(len(a) for a in acked)


if __name__ == "__main__":
    run([acknowledged_batches_survive])
