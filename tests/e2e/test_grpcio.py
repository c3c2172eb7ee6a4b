"""Promise: an unmodified Python gRPC client can do all that docs/WIRE.md says.

Each test starts a tallyd on an empty directory and a port of its own.
"""
import http.client
import os
import re
import socket
import struct
import subprocess
import threading
import time

import harness
from harness import NOW_US, Tallyd, append, execute, grpc, pb, request, rpc, run

import health_pb2
import health_pb2_grpc
import reflection_v1_pb2
import reflection_v1_pb2_grpc
import reflection_v1alpha_pb2
import reflection_v1alpha_pb2_grpc


def expect(code, call):
    try:
        result = call()
        if hasattr(result, "__iter__"):
            list(result)
    except grpc.RpcError as e:
        assert e.code() == code, (e.code(), e.details())
        return e
    raise AssertionError("no error, expected %s" % code)


def count(channel, where="true"):
    return execute(rpc.QueryStub(channel), "SELECT count(*) FROM events WHERE " + where)[0][0]


def append_and_query():
    with Tallyd() as server, server.channel() as channel:
        ingest = rpc.IngestStub(channel)
        acks = append(ingest, [request(1000, b"p", i + 1, path="/p%d" % i) for i in range(20)])
        assert [a.sequence for a in acks] == list(range(1, 21))
        assert all(a.code == pb.OK and a.rows == 1000 and not a.refused for a in acks), acks
        assert [a.position for a in acks] == sorted(a.position for a in acks)
        assert count(channel) == 20000
        rows = execute(rpc.QueryStub(channel),
                       "SELECT path, count(*), min(ts), max(visitor_id) FROM events "
                       "WHERE merchant_id = 1 GROUP BY path ORDER BY path LIMIT 3")
        assert rows[0] == ("/p0", 1000, NOW_US, "v99"), rows
        assert len(rows) == 3
        server.stop()


def acknowledged_is_visible():
    with Tallyd() as server, server.channel() as channel:
        ingest, total = rpc.IngestStub(channel), 0
        for i in range(30):
            append(ingest, [request(50, b"p", i + 1)])
            total += 50
            assert count(channel) == total


def duplicates():
    with Tallyd() as server:
        with server.channel() as channel:
            ingest = rpc.IngestStub(channel)
            append(ingest, [request(10, b"p", i) for i in range(1, 6)])
            again = append(ingest, [request(10, b"p", i) for i in range(1, 6)])
            assert all(a.duplicate and a.code == pb.OK for a in again), again
            assert count(channel) == 50
        server.stop()
        server.start()
        with server.channel() as channel:
            again = append(rpc.IngestStub(channel), [request(10, b"p", 3)])
            assert again[0].duplicate
            assert count(channel) == 50
            other = append(rpc.IngestStub(channel), [request(10, b"q", 3)])
            assert not other[0].duplicate
            assert count(channel) == 60


def refused_rows_and_batches():
    with Tallyd() as server, server.channel() as channel:
        ingest = rpc.IngestStub(channel)
        r = request(10, b"p", 1)
        merchant = next(c for c in r.batch.columns if c.name == b"merchant_id")
        merchant.validity = bytes([0b11011110, 0b11])  # rows 0 and 5 have none
        broken = request(10, b"p", 2)
        broken.batch.columns[0].ints.pop()
        no_table = request(10, b"p", 3, table=b"nothing_like_it")
        acks = append(ingest, [r, broken, no_table, request(10, b"p", 4),
                               pb.AppendRequest(sequence=9)])
        a = acks[0]
        assert a.code == pb.OK and a.rows == 8 and a.refused == 2, a
        assert sorted(f.row for f in a.refusals) == [0, 5], a
        assert all(f.reason for f in a.refusals)
        assert acks[1].code == pb.INVALID and acks[1].message, acks[1]
        assert acks[2].code == pb.NOT_FOUND and "nothing_like_it" in acks[2].message, acks[2]
        assert acks[3].code == pb.OK and acks[3].rows == 10
        assert acks[4].code == pb.INVALID
        assert count(channel) == 18


def far_future_is_refused():
    with Tallyd() as server, server.channel() as channel:
        ingest = rpc.IngestStub(channel)
        late = request(5, b"p", 1, start_us=int((time.time() + 3 * 86400) * 1e6))
        setattr(late, "import", False)
        a = append(ingest, [late])[0]
        assert a.rows == 0 and a.refused == 5, a
        assert count(channel) == 0


def event(**fields):
    e = pb.Event()
    for name, v in fields.items():
        f = e.fields.add(name=name.encode())
        if isinstance(v, bool):
            f.bool = v
        elif isinstance(v, int):
            f.int = v
        elif isinstance(v, float):
            f.double = v
        elif isinstance(v, dict):
            for k, x in v.items():
                f.props.props.add(key=k.encode(), value=x.encode())
        else:
            f.text = v.encode()
    return e


def append_events():
    with Tallyd() as server, server.channel() as channel:
        ingest = rpc.IngestStub(channel)
        events = [
            event(merchant_id=7, ts=NOW_US, event_name="pageview", path="/a", is_bot=False),
            event(merchant_id=7, ts="2023-11-15 00:00:00+00", event_name="purchase",
                  revenue="12.50", currency="EUR", props={"color": "red"}),
            event(merchant_id=7, ts="not a time", event_name="bad"),
            event(merchant_id="8", ts=NOW_US + 5, event_name="pageview", bytes=123),
            event(merchant_id=7, ts=NOW_US, event_name=5),
            event(event_name="nobody"),
        ]
        acks = list(ingest.AppendEvents(iter([
            pb.AppendEventsRequest(producer=b"web", sequence=1, events=events),
            pb.AppendEventsRequest(producer=b"web", sequence=1, events=events),
            pb.AppendEventsRequest(producer=b"web", sequence=2, table=b"none", events=events),
        ])))
        a = acks[0]
        assert a.code == pb.OK and a.rows == 3 and a.refused == 3, a
        assert sorted(f.row for f in a.refusals) == [2, 4, 5], a
        assert acks[1].duplicate, acks[1]
        assert acks[2].code == pb.NOT_FOUND, acks[2]
        rows = execute(rpc.QueryStub(channel),
                       "SELECT merchant_id, event_name, path, revenue, props['color'], bytes, "
                       "is_bot FROM events ORDER BY merchant_id, ts, event_name")
        assert rows == [(7, "pageview", "/a", None, None, None, False),
                        (7, "purchase", None, 125000, "red", None, None),
                        (8, "pageview", None, None, None, 123, None)], rows


def query_types_and_parameters():
    with Tallyd() as server, server.channel() as channel:
        query = rpc.QueryStub(channel)
        append(rpc.IngestStub(channel), [request(100, b"p", 1)])
        rows = execute(query, "SELECT 1, 2.5, 'x', NULL, true, DATE '2024-02-29', "
                              "TIMESTAMPTZ '2024-01-01 00:00:00+00', 1e0::double precision, "
                              "INTERVAL '1 day 2 hours'")
        assert rows[0][0] == 1 and rows[0][2:5] == ("x", None, True), rows
        assert rows[0][5] == 19782 and rows[0][6] == 1704067200000000 and rows[0][7] == 1.0, rows
        assert rows[0][8] == "1 day 02:00:00", rows
        assert execute(query, "SELECT count(*) FROM events WHERE merchant_id = $1 AND path = $2",
                       1, "/") == [(100,)]
        assert execute(query, "SELECT count(*) FROM events WHERE merchant_id = $1", None) == [(0,)]
        assert execute(query, "SELECT sum(merchant_id) FROM events") == [("100",)]
        assert execute(query, "SELECT path FROM events WHERE merchant_id = 99") == []
        assert execute(query, "SELECT date_trunc('day', ts) FROM events LIMIT 1",
                       time_zone="Europe/Berlin")[0][0] % 86400000000 == 23 * 3600000000


def query_errors():
    with Tallyd() as server, server.channel() as channel:
        query = rpc.QueryStub(channel)

        def ask(sql, **kw):
            return lambda: query.Execute(pb.ExecuteRequest(sql=sql, **kw))

        e = expect(grpc.StatusCode.INVALID_ARGUMENT, ask("SELEC 1"))
        trailers = dict(e.trailing_metadata())
        assert trailers["tally-sqlstate"] == "42601", trailers
        assert int(trailers["tally-position"]) >= 1
        assert b"42601" in trailers["grpc-status-details-bin"]
        e = expect(grpc.StatusCode.NOT_FOUND, ask("SELECT * FROM nowhere"))
        assert dict(e.trailing_metadata())["tally-sqlstate"] == "42P01"
        e = expect(grpc.StatusCode.NOT_FOUND, ask("SELECT nothing FROM events"))
        assert dict(e.trailing_metadata())["tally-sqlstate"] == "42703"
        e = expect(grpc.StatusCode.UNIMPLEMENTED,
                   ask("SELECT row_number() OVER () FROM events"))
        assert dict(e.trailing_metadata())["tally-sqlstate"] == "0A000"
        expect(grpc.StatusCode.INVALID_ARGUMENT, ask("SELECT $1::bigint"))
        expect(grpc.StatusCode.INVALID_ARGUMENT,
               ask("SELECT $1::bigint", params=[pb.Param(text="x")]))
        expect(grpc.StatusCode.INVALID_ARGUMENT, ask("SELECT 1", time_zone="No/Where"))
        expect(grpc.StatusCode.INVALID_ARGUMENT, ask("SELECT '\0'"))
        expect(grpc.StatusCode.RESOURCE_EXHAUSTED, ask("SELECT '" + "x" * 3000000 + "'"))
        assert execute(query, "SELECT 1") == [(1,)]  # still there


def deadlines_and_cancel():
    with Tallyd() as server, server.channel() as channel:
        query = rpc.QueryStub(channel)
        append(rpc.IngestStub(channel),
               [request(50000, b"p", i + 1, path="/some/longer/path/%d" % i) for i in range(20)])
        sql = "SELECT path, visitor_id, ts, count(*) FROM events GROUP BY 1, 2, 3 ORDER BY 3, 2, 1"
        try:
            list(query.Execute(pb.ExecuteRequest(sql=sql), timeout=0.02))
            raise AssertionError("a million groups in 20 ms")
        except grpc.RpcError as e:
            assert e.code() == grpc.StatusCode.DEADLINE_EXCEEDED, e
        try:
            list(query.Execute(pb.ExecuteRequest(sql=sql, timeout_ms=10)))
            raise AssertionError("a million groups in 10 ms")
        except grpc.RpcError as e:
            assert e.code() == grpc.StatusCode.DEADLINE_EXCEEDED, e
        call = query.Execute(pb.ExecuteRequest(sql=sql))
        time.sleep(0.05)
        call.cancel()
        expect(grpc.StatusCode.CANCELLED, lambda: call)
        # A reader that stops reading: the query rests, others are served, and it goes on later.
        call = query.Execute(pb.ExecuteRequest(sql="SELECT ts, path, visitor_id FROM events"))
        first = next(call)
        time.sleep(0.3)
        assert execute(query, "SELECT 1") == [(1,)]
        rows = first.batch.rows + sum(m.batch.rows for m in call)
        assert rows == 1000000, rows
        wait_for(lambda: metric(server, "tally_queries_open") == 0)


def wait_for(condition, seconds=10):
    end = time.time() + seconds
    while not condition():
        assert time.time() < end, "it did not happen"
        time.sleep(0.02)


def get(server, path, method="GET"):
    host, port = server.http.rsplit(":", 1)
    c = http.client.HTTPConnection(host, int(port), timeout=10)
    c.request(method, path)
    r = c.getresponse()
    body = r.read().decode()
    c.close()
    return r.status, body


def metric(server, name):
    m = re.search(r"^%s (\S+)$" % re.escape(name), get(server, "/metrics")[1], re.M)
    return float(m.group(1)) if m else None


def http_door():
    with Tallyd() as server, server.channel() as channel:
        append(rpc.IngestStub(channel), [request(10, b"p", i + 1) for i in range(3)])
        assert get(server, "/healthz") == (200, "ok\n")
        assert get(server, "/readyz") == (200, "ready\n")
        assert get(server, "/nothing")[0] == 404
        assert get(server, "/metrics", "POST")[0] == 405
        status, text = get(server, "/metrics")
        assert status == 200
        assert metric(server, "tally_append_rows_total") == 30
        assert metric(server, 'tally_append_acks_total{code="ok"}') == 3
        assert metric(server, 'tally_connections_open{door="grpc"}') == 1
        check_prometheus(text)
        # keep-alive, and two requests in one write
        host, port = server.http.rsplit(":", 1)
        with socket.create_connection((host, int(port)), timeout=10) as s:
            s.sendall(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n" * 2 +
                      b"GET /readyz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            data = b""
            while True:
                got = s.recv(65536)
                if not got:
                    break
                data += got
            assert data.count(b"HTTP/1.1 200 OK") == 3, data
        with socket.create_connection((host, int(port)), timeout=10) as s:
            s.sendall(b"\x16\x03\x01nonsense\r\n\r\n")
            assert s.recv(100).startswith(b"HTTP/1.1 400")
        with socket.create_connection((host, int(port)), timeout=10) as s:
            s.sendall(b"GET / HTTP/1.1\r\n" + b"X: " + b"y" * 40000 + b"\r\n\r\n")
            assert b" 431 " in s.recv(100)


def check_prometheus(text):
    """Every sample belongs to a family that was announced, histograms add up."""
    families, seen = {}, set()
    for line in text.splitlines():
        if line.startswith("# TYPE "):
            _, _, name, kind = line.split()
            assert name not in families, "announced twice: " + name
            families[name] = kind
        elif line and not line.startswith("#"):
            m = re.match(r"([a-zA-Z_:][a-zA-Z0-9_:]*)(\{[^}]*\})? (\S+)$", line)
            assert m, "no sample: " + line
            float(m.group(3))
            base = re.sub(r"_(bucket|sum|count)$", "", m.group(1))
            name = base if families.get(base) == "histogram" else m.group(1)
            assert name in families, "never announced: " + line
            assert line.rsplit(" ", 1)[0] not in seen, "twice: " + line
            seen.add(line.rsplit(" ", 1)[0])
            if families[name] == "counter":
                assert name.endswith("_total"), name


def health():
    with Tallyd() as server, server.channel() as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        for name in ["", "tally.v1.Ingest", "tally.v1.Query", "tally.v1.Admin"]:
            r = stub.Check(health_pb2.HealthCheckRequest(service=name))
            assert r.status == health_pb2.HealthCheckResponse.SERVING
        expect(grpc.StatusCode.NOT_FOUND,
               lambda: stub.Check(health_pb2.HealthCheckRequest(service="no")))
        watch = stub.Watch(health_pb2.HealthCheckRequest())
        assert next(watch).status == health_pb2.HealthCheckResponse.SERVING
        unknown = stub.Watch(health_pb2.HealthCheckRequest(service="no"))
        assert next(unknown).status == health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
        unknown.cancel()
        server.process.terminate()
        assert next(watch).status == health_pb2.HealthCheckResponse.NOT_SERVING
        expect(grpc.StatusCode.UNAVAILABLE, lambda: watch)
        assert server.process.wait(20) == 0


def reflection():
    from google.protobuf import descriptor_pb2
    with Tallyd() as server, server.channel() as channel:
        for messages, stubs in [(reflection_v1_pb2, reflection_v1_pb2_grpc),
                                (reflection_v1alpha_pb2, reflection_v1alpha_pb2_grpc)]:
            ask = messages.ServerReflectionRequest
            answers = list(stubs.ServerReflectionStub(channel).ServerReflectionInfo(iter([
                ask(list_services="*"), ask(file_containing_symbol="tally.v1.Ingest"),
                ask(file_by_filename="health.proto"), ask(file_containing_symbol="no.Such"),
                ask(file_containing_symbol="tally.v1.Ingest.Append")])))
            names = [s.name for s in answers[0].list_services_response.service]
            assert {"tally.v1.Ingest", "tally.v1.Query", "tally.v1.Admin",
                    "grpc.health.v1.Health", "grpc.reflection.v1.ServerReflection",
                    "grpc.reflection.v1alpha.ServerReflection"} <= set(names), names
            f = descriptor_pb2.FileDescriptorProto.FromString(
                answers[1].file_descriptor_response.file_descriptor_proto[0])
            assert f.package == "tally.v1" and f.name == "tally.proto", f.name
            assert answers[2].file_descriptor_response.file_descriptor_proto
            assert answers[3].error_response.error_code == 5
            assert answers[4].file_descriptor_response.file_descriptor_proto


def compression():
    with Tallyd() as server:
        with grpc.insecure_channel(server.grpc,
                                   compression=grpc.Compression.Gzip) as channel:
            acks = append(rpc.IngestStub(channel), [request(5000, b"p", i + 1) for i in range(5)])
            assert all(a.rows == 5000 for a in acks), acks
            assert count(channel) == 25000
        with grpc.insecure_channel(server.grpc,
                                   compression=grpc.Compression.Deflate) as channel:
            expect(grpc.StatusCode.UNIMPLEMENTED,
                   lambda: rpc.IngestStub(channel).Append(iter([request(5000)])))


def limits():
    with Tallyd(args=["--connections", "8"]) as server, server.channel() as channel:
        ingest = rpc.IngestStub(channel)
        big = pb.AppendRequest(producer=b"x" * (17 << 20))
        e = expect(grpc.StatusCode.RESOURCE_EXHAUSTED, lambda: ingest.Append(iter([big])))
        assert "limit" in e.details(), e.details()
        a = append(ingest, [pb.AppendRequest(producer=b"x" * 65, batch=harness.batch(1))])[0]
        assert a.code == pb.INVALID, a
        expect(grpc.StatusCode.UNIMPLEMENTED,
               lambda: channel.unary_unary("/tally.v1.Ingest/Nothing",
                                           request_serializer=lambda b: b,
                                           response_deserializer=lambda b: b)(b""))
        # the 9th connection is not taken; the others go on
        host, port = server.grpc.rsplit(":", 1)
        sockets = [socket.create_connection((host, int(port)), timeout=10) for _ in range(12)]
        wait_for(lambda: closed_by_peer(sockets) >= 4)
        for s in sockets:
            s.close()
        assert append(ingest, [request(10)])[0].rows == 10


def closed_by_peer(sockets):
    n = 0
    for s in sockets:
        s.settimeout(0.01)
        try:
            n += s.recv(65536) == b""
        except ConnectionError:
            n += 1
        except OSError:
            pass
    return n


PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


def frame(kind, flags, stream, payload=b""):
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + \
        struct.pack(">I", stream) + payload


def headers(path=b"/tally.v1.Ingest/Append"):
    def literal(name, value):
        return b"\0" + bytes([len(name)]) + name + bytes([len(value)]) + value
    return b"\x83\x86" + literal(b":path", path) + literal(b":authority", b"x") + \
        literal(b"content-type", b"application/grpc") + literal(b"te", b"trailers")


def floods():
    """Known attacks on HTTP/2 end their connection, in bounded memory, and nobody else's."""
    attacks = {
        "rapid reset": lambda i: frame(1, 4, 2 * i + 1, headers()) +
        frame(3, 0, 2 * i + 1, b"\0\0\0\x08"),
        "continuation": lambda i: frame(1, 0, 1, headers()) if i == 0 else
        frame(9, 0, 1, b"\0\1a\1b" * 1000),
        "settings": lambda i: frame(4, 0, 0, b"\0\4\0\0\xff\xff" * 100),
        "pings": lambda i: frame(6, 0, 0, b"12345678") * 100,
        "empty data": lambda i: frame(1, 4, 1, headers()) if i == 0 else frame(0, 0, 1) * 100,
        "window overflow": lambda i: frame(8, 0, 0, b"\x7f\xff\xff\xff"),
        "heedless of windows": lambda i: frame(1, 4, 1, headers()) if i == 0 else
        frame(0, 0, 1, (b"\0\0\xff\0\0" if i == 1 else b"") + b"x" * 16000),
    }
    with Tallyd() as server, server.channel() as channel:
        host, port = server.grpc.rsplit(":", 1)
        append(rpc.IngestStub(channel), [request(10)])
        before = resident(server)
        for name, make in attacks.items():
            # Legal, if senseless, or answered by ending the stream alone: only bounded.
            ended = name in ("empty data", "heedless of windows")
            with socket.create_connection((host, int(port)), timeout=5) as s:
                try:
                    s.sendall(PREFACE + frame(4, 0, 0))
                    for i in range(3000):
                        s.sendall(make(i))
                    s.settimeout(2)
                    while True:
                        if s.recv(65536) == b"":
                            ended = True
                            break
                except socket.timeout:
                    pass
                except ConnectionError:
                    ended = True
            assert ended, name + " was let through"
            assert append(rpc.IngestStub(channel), [request(10)])[0].rows == 10, name
        # many requests that never end, and prefixes that promise 16 MiB
        sockets = []
        for _ in range(150):
            s = socket.create_connection((host, int(port)), timeout=5)
            s.sendall(PREFACE + frame(4, 0, 0) + b"".join(
                frame(1, 4, 2 * i + 1, headers()) +
                frame(0, 0, 2 * i + 1, b"\0\0\xff\0\0" + b"x" * 200) for i in range(100)))
            sockets.append(s)
        wait_for(lambda: metric(server, "tally_grpc_streams_open") > 10000)
        assert metric(server, "tally_window_lent_bytes") <= metric(server, "tally_window_limit_bytes")
        assert append(rpc.IngestStub(channel), [request(10)])[0].rows == 10
        assert resident(server) - before < 200 << 20, resident(server) - before
        for s in sockets:
            s.close()
        wait_for(lambda: metric(server, "tally_grpc_streams_open") == 0)


def resident(server):
    with open("/proc/%d/statm" % server.process.pid) as f:
        return int(f.read().split()[1]) * 4096


def certificate(folder, names):
    stem = os.path.join(folder, re.sub(r"\W", "-", names))
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
                    "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-keyout", stem + ".key",
                    "-out", stem + ".pem", "-subj", "/CN=localhost", "-addext",
                    "subjectAltName=" + names], check=True, stderr=subprocess.DEVNULL)
    return stem + ".pem", stem + ".key"


def command_line_over_tls(server, cert, folder):
    """tally verifies whom it speaks to, and then queries and imports as without TLS."""
    tally = os.path.join(harness.BUILD, "tally")

    def ran(*args, expect=0, **env):
        r = subprocess.run([tally, *args], capture_output=True, text=True, timeout=60,
                           env={**os.environ, **env})
        assert r.returncode == expect, (args, r)
        return r.stdout if expect == 0 else r.stderr
    port = server.grpc.rsplit(":", 1)[1]
    total = ("query", "--format", "csv", "SELECT count(*) FROM events")
    for host in ("127.0.0.1", "localhost"):
        place = ("--server", host + ":" + port)
        assert ran(*total, *place, "--ca", cert).split()[1] == "200000"
        assert ran(*total, *place, TALLY_CA=cert).split()[1] == "200000"
    assert "certificate" in ran(*total, *place, "--tls", expect=1)
    other, other_key = certificate(folder, "DNS:elsewhere")
    with Tallyd(args=["--tls-cert", other, "--tls-key", other_key]) as wrong:
        assert "mismatch" in ran(*total, "--server", wrong.grpc, "--ca", other, expect=1)
    ran(*total, *place, "--ca", os.path.join(folder, "none.pem"), expect=1)
    ran(*total, *place, expect=1)  # in clear
    lines = "".join('{"merchant_id":5,"ts":"2024-05-01T00:00:00Z","path":"/%d"}\n' % i
                    for i in range(5000))
    path = os.path.join(folder, "rows.ndjson")
    with open(path, "w") as f:
        f.write(lines)
    ran("import", path, "--format", "ndjson", "--table", "events", *place, "--ca", cert, "--quiet")
    assert ran(*total, *place, "--ca", cert).split()[1] == "205000"
    big = ran("query", "--format", "csv", "SELECT ts, path FROM events LIMIT 150000", *place,
              "--ca", cert)
    assert len(big.splitlines()) == 150001


def tls():
    with Tallyd() as probe:
        folder = probe.data
        cert, key = certificate(folder, "DNS:localhost,IP:127.0.0.1")
        with Tallyd(args=["--tls-cert", cert, "--tls-key", key]) as server:
            credentials = grpc.ssl_channel_credentials(open(cert, "rb").read())
            with grpc.secure_channel(server.grpc, credentials) as channel:
                acks = append(rpc.IngestStub(channel),
                              [request(20000, b"p", i + 1) for i in range(10)])
                assert all(a.rows == 20000 for a in acks)
                assert count(channel) == 200000
                rows = execute(rpc.QueryStub(channel), "SELECT ts, path FROM events LIMIT 100000")
                assert len(rows) == 100000
            command_line_over_tls(server, cert, folder)
            import ssl
            host, port = server.grpc.rsplit(":", 1)
            with socket.create_connection((host, int(port)), timeout=10) as s:
                s.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")  # no TLS at all
                assert s.recv(100)[:1] in (b"", b"\x15")
            context = ssl._create_unverified_context()
            context.set_alpn_protocols(["http/1.1"])
            try:
                with socket.create_connection((host, int(port)), timeout=10) as s:
                    context.wrap_socket(s)
                raise AssertionError("HTTP/1.1 was agreed on")
            except (ssl.SSLError, ConnectionError):
                pass
            server.stop()


def administration():
    import json
    with Tallyd() as server, server.channel() as channel:
        admin = rpc.AdminStub(channel)
        append(rpc.IngestStub(channel), [request(1000, b"p", i + 1) for i in range(5)])
        json.loads(admin.Status(pb.StatusRequest()).json)
        admin.Flush(pb.FlushRequest())
        last = list(admin.Compact(pb.CompactRequest()))[-1]
        json.loads(last.json)
        last = list(admin.Verify(pb.VerifyRequest()))[-1]
        json.loads(last.json)
        json.loads(admin.Inspect(pb.InspectRequest()).json)
        # Putting off where nothing is asked for changes nothing; what comes later is done.
        last = list(admin.Compact(pb.CompactRequest(cancel=True)))[-1]
        assert json.loads(last.json) == {"cancelled": True}
        append(rpc.IngestStub(channel), [request(1000, b"p", i + 1) for i in range(5, 7)])
        list(admin.Compact(pb.CompactRequest()))
        status = json.loads(admin.Status(pb.StatusRequest()).json)
        assert status["level0"] == 0 and status["compact_requests"] == 0
        assert status["merging"] == [] and not status["compaction_put_off"]
        assert status["merged_bytes"] > 0 and status["written_per_live_byte"] > 1
        assert count(channel) == 7000


def many_streams_at_once():
    with Tallyd() as server:
        channels = [server.channel(**{"grpc.use_local_subchannel_pool": 1}) for _ in range(8)]
        failures = []

        def work(k):
            try:
                stub = rpc.IngestStub(channels[k % 8])
                acks = append(stub, [request(300, b"w%d" % k, i + 1) for i in range(40)])
                assert len(acks) == 40 and all(a.rows == 300 for a in acks)
            except Exception as e:
                failures.append(e)

        threads = [threading.Thread(target=work, args=(k,)) for k in range(32)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        assert not failures, failures[0]
        assert count(channels[0]) == 32 * 40 * 300
        for c in channels:
            c.close()
        server.stop()


def drain_on_sigterm():
    with Tallyd() as server, server.channel() as channel:
        ingest = rpc.IngestStub(channel)
        stop, sent, acked = threading.Event(), [0], []

        def requests():
            while not stop.is_set():
                sent[0] += 1
                yield request(100, b"p", sent[0], path="/b%d" % sent[0])

        call = ingest.Append(requests())
        status = None
        try:
            for a in call:
                assert a.code == pb.OK, a
                acked.append(a.sequence)
                if len(acked) == 50:
                    server.process.terminate()
        except grpc.RpcError as e:
            status = e.code()
        stop.set()
        assert status == grpc.StatusCode.UNAVAILABLE, status
        assert server.process.wait(30) == 0
        server.start()
        with server.channel() as again:
            rows = dict(execute(rpc.QueryStub(again),
                                "SELECT path, count(*) FROM events GROUP BY path"))
            assert all(rows.get("/b%d" % s) == 100 for s in acked), (len(acked), len(rows))
            assert set(rows.values()) == {100}


def settings():
    def tallyd(*args, **env):
        return subprocess.run([harness.TALLYD] + list(args), capture_output=True, text=True,
                              env=dict(os.environ, **env), timeout=60)

    with Tallyd() as server:
        r = tallyd("--data", server.data, "--grpc", "127.0.0.1:0")
        assert r.returncode == 3 and str(server.process.pid) in r.stderr, r
        folder = server.data
        ini = os.path.join(folder, "t.ini")
        with open(ini, "w") as f:
            f.write("[tallyd]\ndata = /from/file\nmemory = 2GiB\ndrain = 3s\n")
        r = tallyd("--config", ini, "--check-config", "--drain", "5s", TALLY_MEMORY="256MiB")
        assert r.returncode == 0 and "data = /from/file\n" in r.stdout, r
        assert "memory = 268435456\n" in r.stdout and "drain = 5000ms\n" in r.stdout, r
        with open(ini, "a") as f:
            f.write("nonsense = 1\n")
        r = tallyd("--config", ini, "--check-config")
        assert r.returncode == 2 and "line 5" in r.stderr and "nonsense" in r.stderr, r
    for args in [("--pg", "nonsense", "--data", os.path.join(harness.BUILD, "e2e", "never")),
                 ("--data", "x", "--memory", "many"),
                 ("--nothing",), (), ("--data", "x", "--tls-cert", "c")]:
        r = tallyd(*args)
        assert r.returncode == 2 and r.stderr.startswith("tallyd: "), (args, r)
    r = tallyd("--data", os.path.join(harness.BUILD, "e2e", "never"), "--grpc", "0.0.0.0:0")
    assert r.returncode == 2 and "--insecure" in r.stderr, r
    assert tallyd("--help").returncode == 0 and tallyd("--version").returncode == 0


if __name__ == "__main__":
    run([append_and_query, acknowledged_is_visible, duplicates, refused_rows_and_batches,
         far_future_is_refused, append_events, query_types_and_parameters, query_errors,
         deadlines_and_cancel, http_door, health, reflection, compression, limits, floods, tls,
         administration, many_streams_at_once, drain_on_sigterm, settings])
