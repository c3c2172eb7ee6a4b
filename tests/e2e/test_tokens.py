"""Promise: once a token exists nobody comes in without one; a merchant's token reads and writes
that merchant's rows and no others, does what its scopes say, and ends when it is revoked.

Each test starts a tallyd on an empty directory and a port of its own.
"""
import json
import os
import subprocess
import time

import harness
from harness import Tallyd, append, batch, execute, grpc, pb, request, rpc, run

TALLY = os.path.join(harness.BUILD, "tally")
WAIT_S = 60  # far beyond the second that a change takes to be heard


def token(server, *args, expect=0):
    r = subprocess.run([TALLY, "token"] + list(args) + ["--data", server.data],
                       capture_output=True, text=True, timeout=60)
    assert r.returncode == expect, (args, r)
    return r.stdout.strip() if expect == 0 else r.stderr


def bearer(text):
    return [("authorization", "Bearer " + text)]


def refused(code, call):
    try:
        result = call()
        if hasattr(result, "__iter__"):
            list(result)
    except grpc.RpcError as e:
        assert e.code() == code, (e.code(), e.details())
        return e.details()
    raise AssertionError("no error, expected %s" % code)


def until(condition):
    deadline = time.time() + WAIT_S
    while not condition():
        assert time.time() < deadline, "it never came true"


def ask(channel, sql, key):
    r = pb.ExecuteRequest(sql=sql)
    values = []
    for m in rpc.QueryStub(channel).Execute(r, metadata=bearer(key), timeout=60):
        if m.HasField("batch"):
            columns = [harness.column_values(c, m.batch.rows) for c in m.batch.columns]
            values += list(zip(*columns))
    return values


def first_token_closes_the_door():
    with Tallyd() as server, server.channel() as channel:
        ingest, query = rpc.IngestStub(channel), rpc.QueryStub(channel)
        assert append(ingest, [request(10, b"p", 1)])[0].rows == 10
        assert execute(query, "SELECT count(*) FROM events") == [(10,)]
        boss = token(server, "create", "boss", "--operator")

        def closed():
            try:
                execute(query, "SELECT 1")
                return False
            except grpc.RpcError as e:
                assert e.code() == grpc.StatusCode.UNAUTHENTICATED, e
                return True
        until(closed)
        refused(grpc.StatusCode.UNAUTHENTICATED, lambda: append(ingest, [request(1, b"p", 2)]))
        refused(grpc.StatusCode.UNAUTHENTICATED,
                lambda: rpc.AdminStub(channel).Status(pb.StatusRequest()))
        refused(grpc.StatusCode.UNAUTHENTICATED, lambda: ask(channel, "SELECT 1", boss + "x"))
        assert ask(channel, "SELECT count(*) FROM events", boss) == [(10,)]
        rpc.AdminStub(channel).Status(pb.StatusRequest(), metadata=bearer(boss))
        token(server, "revoke", "boss")

        def revoked():
            try:
                ask(channel, "SELECT 1", boss)
                return False
            except grpc.RpcError as e:
                assert e.code() == grpc.StatusCode.UNAUTHENTICATED, e
                return True
        until(revoked)
        server.stop()
        server.start()
        with server.channel() as later:  # no token is left, and the door stays closed
            refused(grpc.StatusCode.UNAUTHENTICATED, lambda: execute(rpc.QueryStub(later), "SELECT 1"))


def scopes_and_tenants():
    with Tallyd() as server, server.channel() as channel:
        ingest = rpc.IngestStub(channel)
        for merchant in (1, 2, 3):
            append(ingest, [request(100 * merchant, b"p", merchant, merchant=merchant)])
        boss = token(server, "create", "boss", "--operator")
        one = token(server, "create", "one", "--merchant", "1")
        pair = token(server, "create", "pair", "--merchant", "3,1,3", "--scope", "read")
        sender = token(server, "create", "sender", "--merchant", "2", "--scope", "ingest")
        assert token(server, "create", "one", "--merchant", "1", expect=1).count("already")
        token(server, "create", "none", expect=1)
        token(server, "create", "x", "--merchant", "y", expect=1)

        def heard():
            try:
                return ask(channel, "SELECT 1", boss) == [(1,)]
            except grpc.RpcError:
                return False
        until(heard)
        total = "SELECT count(*) FROM events"
        assert ask(channel, total, boss) == [(600,)]
        assert ask(channel, total, one) == [(100,)]
        assert ask(channel, total, pair) == [(400,)]
        assert ask(channel, total + " WHERE merchant_id = 2 OR true", one) == [(100,)]
        assert ask(channel, total + " WHERE merchant_id = 2", one) == [(0,)]
        assert ask(channel, "SELECT sum(events)::bigint FROM events_15m", pair) == [(400,)]
        refused(grpc.StatusCode.PERMISSION_DENIED, lambda: ask(channel, total, sender))
        refused(grpc.StatusCode.PERMISSION_DENIED,
                lambda: list(ingest.Append(iter([request(1, merchant=1)]), metadata=bearer(pair))))
        refused(grpc.StatusCode.PERMISSION_DENIED,
                lambda: rpc.AdminStub(channel).Flush(pb.FlushRequest(), metadata=bearer(one)))
        refused(grpc.StatusCode.INVALID_ARGUMENT,
                lambda: ask(channel, "ALTER TABLE events ADD COLUMN x BIGINT", one))
        plan = "\n".join(r[0] for r in ask(channel, "EXPLAIN ANALYZE " + total, one))
        assert "Segments" not in plan and "memory" not in plan, plan

        # Rows of another merchant are refused by their index, the others are stored.
        mixed = pb.AppendRequest(producer=b"p", sequence=1, batch=batch(10), **{"import": True})
        del mixed.batch.columns[0].ints[:]
        mixed.batch.columns[0].ints.extend([2, 1, 2, 3, 2, 2, 2, 2, 2, 4])
        ack = list(ingest.Append(iter([mixed]), metadata=bearer(sender)))[0]
        assert (ack.rows, ack.refused) == (7, 3), ack
        assert [r.row for r in ack.refusals] == [1, 3, 9], ack
        # Producers' names are each tenant's own: nobody's sequences meet another's.
        ack = list(ingest.Append(iter([request(5, b"p", 1, merchant=1, start_us=harness.NOW_US + 7)]),
                                 metadata=bearer(one)))[0]
        assert (ack.rows, ack.duplicate) == (5, False), ack
        assert ask(channel, total, boss) == [(612,)]
        names = [json.loads(line) for line in token(server, "list", "--json").splitlines()]
        assert [(n["name"], n["merchants"]) for n in names] == [
            ("boss", []), ("one", [1]), ("pair", [1, 3]), ("sender", [2])], names
        assert all(key not in json.dumps(names) for key in (boss, one, pair, sender))


def an_open_stream_ends_with_its_token():
    with Tallyd() as server, server.channel() as channel:
        key = token(server, "create", "shop", "--merchant", "1")
        state = {"acks": 0, "sequence": 0}

        def requests():
            deadline = time.time() + WAIT_S
            while time.time() < deadline:
                while state["acks"] < state["sequence"]:
                    if time.time() > deadline:
                        return
                state["sequence"] += 1
                if state["sequence"] == 3:
                    token(server, "revoke", "shop")
                yield request(1, b"p", state["sequence"])
        try:
            for ack in rpc.IngestStub(channel).Append(requests(), metadata=bearer(key)):
                state["acks"] += ack.rows
            raise AssertionError("the stream outlived its token")
        except grpc.RpcError as e:
            assert e.code() == grpc.StatusCode.UNAUTHENTICATED, e
        assert state["acks"] >= 2


def the_command_line_takes_a_token():
    with Tallyd() as server, server.channel() as channel:
        append(rpc.IngestStub(channel), [request(10, b"p", 1), request(5, b"p", 2, merchant=2)])
        key = token(server, "create", "shop", "--merchant", "2")

        def count(key):
            r = subprocess.run([TALLY, "query", "--server", server.grpc, "--format", "csv",
                                "SELECT count(*) AS n FROM events"], capture_output=True, text=True,
                               timeout=60, env=dict(os.environ, TALLY_TOKEN=key))
            return r.stdout.split()
        until(lambda: count(key) == ["n", "5"])
        assert count("") == [] and count("tally_wrong") == []


if __name__ == "__main__":
    run([first_token_closes_the_door, scopes_and_tenants, an_open_stream_ends_with_its_token,
         the_command_line_takes_a_token])
