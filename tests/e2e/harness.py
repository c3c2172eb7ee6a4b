"""What the end-to-end tests share: a tallyd of their own, stubs, batches, columns.

Run with Debian's python3 (python3-grpcio, python3-protobuf). Stubs are generated from
wire/proto into the build directory at test time.
"""
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
BUILD = os.path.abspath(os.environ.get("TALLY_BUILD", os.path.join(ROOT, "build", "release")))
TALLYD = os.path.join(BUILD, "tallyd")
TALLY = os.path.join(BUILD, "tally")


def stubs():
    """Generates the stubs once and makes them importable."""
    out = os.path.join(BUILD, "e2e", "python")
    os.makedirs(out, exist_ok=True)
    protos = os.path.join(ROOT, "wire", "proto")
    newest = max(os.path.getmtime(os.path.join(protos, p)) for p in os.listdir(protos))
    stamp = os.path.join(out, "stamp")
    if not os.path.exists(stamp) or os.path.getmtime(stamp) < newest:
        subprocess.run(["protoc", "-I", protos, "--python_out", out, "--grpc_out", out,
                        "--plugin=protoc-gen-grpc=/usr/bin/grpc_python_plugin"] +
                       [os.path.join(protos, p) for p in sorted(os.listdir(protos))], check=True)
        open(stamp, "w").close()
    sys.path.insert(0, out)


stubs()
import grpc  # noqa: E402
import tally_pb2 as pb  # noqa: E402
import tally_pb2_grpc as rpc  # noqa: E402


class Tallyd:
    """One server on a directory and ports of its own."""

    def __init__(self, data=None, args=(), env=None):
        self.own = data is None
        self.data = data or tempfile.mkdtemp(prefix="tally-e2e-", dir=os.environ.get("TMPDIR"))
        self.args = list(args)
        self.env = dict(os.environ, **(env or {}))
        self.process = None
        self.log = os.path.join(self.data + ".log")
        self.start()

    def start(self):
        self.process = subprocess.Popen(
            [TALLYD, "--data", self.data, "--grpc", "127.0.0.1:0", "--http", "127.0.0.1:0"] +
            ([] if "--pg" in self.args else ["--pg", "127.0.0.1:0"]) +
            self.args, stdout=subprocess.PIPE, stderr=open(self.log, "ab"), text=True,
            env=self.env)
        line = self.process.stdout.readline()
        m = re.match(r"tallyd ready: grpc=(\S+) http=(\S+)(?: pg=(\S+))? data=(.*)$", line)
        assert m, "not ready: %r; %s" % (line, open(self.log).read()[-2000:])
        self.grpc, self.http, self.pg = m.group(1), m.group(2), m.group(3)

    def channel(self, **options):
        return grpc.insecure_channel(self.grpc, options=list(options.items()))

    def stop(self, expect=0, timeout=60):
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(timeout)
        assert expect is None or code == expect, "ended with %d: %s" % (
            code, open(self.log).read()[-2000:])
        return code

    def kill(self):
        self.process.kill()
        self.process.wait()

    def close(self):
        if self.process.poll() is None:
            self.kill()
        self.process.stdout.close()
        if self.own:
            shutil.rmtree(self.data, ignore_errors=True)
            if os.path.exists(self.log):
                os.unlink(self.log)

    def __enter__(self):
        return self

    def __exit__(self, failure, *_):
        try:
            if failure is None and self.process.poll() is None:
                self.stop()  # sanitizers speak at the end
        finally:
            self.close()


def certificate(folder):
    """A key and a certificate of its own for 127.0.0.1; their files."""
    key, cert = os.path.join(folder, "key.pem"), os.path.join(folder, "cert.pem")
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
                    "-nodes", "-keyout", key, "-out", cert, "-days", "2", "-subj", "/CN=localhost",
                    "-addext", "subjectAltName=IP:127.0.0.1"], check=True, capture_output=True)
    return key, cert


def token(data, name, *who):
    """Makes a principal in a data directory; its secret."""
    return subprocess.run([TALLY, "token", "create", name, "--data", data, *who], check=True,
                          capture_output=True, text=True).stdout.strip()


NOW_US = 1_700_000_000_000_000


def text_column(name, values):
    """Dictionary-coded, as a collector would."""
    column = pb.Column(name=name.encode())
    codes = {}
    valid = bytearray((len(values) + 7) // 8)
    for i, v in enumerate(values):
        if v is None:
            column.codes.append(0)
            continue
        valid[i // 8] |= 1 << (i % 8)
        column.codes.append(codes.setdefault(v, len(codes)))
    if None in values:
        column.validity = bytes(valid)
    data = [v.encode() for v in codes] or [b""]
    column.blob = b"".join(data)
    column.lengths.extend(len(d) for d in data)
    return column


def int_column(name, values, delta=False):
    column = pb.Column(name=name.encode(), delta=delta)
    last = 0
    valid = bytearray((len(values) + 7) // 8)
    for i, v in enumerate(values):
        if v is not None:
            valid[i // 8] |= 1 << (i % 8)
        v = last if v is None and delta else v or 0
        column.ints.append(v - last if delta else v)
        last = v
    if None in values:
        column.validity = bytes(valid)
    return column


def batch(rows, merchant=1, path="/", start_us=NOW_US, table=b""):
    """`rows` page views of one merchant, a millisecond apart."""
    return pb.Batch(table=table or b"events", rows=rows, columns=[
        int_column("merchant_id", [merchant] * rows),
        int_column("ts", [start_us + 1000 * i for i in range(rows)], delta=True),
        text_column("event_name", ["pageview"] * rows),
        text_column("visitor_id", ["v%d" % (i % 100) for i in range(rows)]),
        text_column("path", [path] * rows),
    ])


def request(rows, producer=b"", sequence=0, **kw):
    return pb.AppendRequest(producer=producer, sequence=sequence, batch=batch(rows, **kw),
                            **{"import": True})


def append(stub, requests, **kw):
    """Sends all, returns all acknowledgements."""
    return list(stub.Append(iter(requests), **kw))


def column_values(column, rows):
    """A result's column as Python values."""
    valid = [True] * rows
    if column.validity:
        valid = [bool(column.validity[i // 8] >> (i % 8) & 1) for i in range(rows)]
    if column.ints:
        values, last = [], 0
        for v in column.ints:
            last = v + last if column.delta else v
            values.append(last)
    elif column.doubles:
        values = list(column.doubles)
    elif column.bools:
        values = [bool(b) for b in column.bools]
    else:
        texts, at = [], 0
        for n in column.lengths:
            texts.append(column.blob[at:at + n].decode())
            at += n
        values = [texts[c] for c in column.codes] if column.codes else texts
    assert len(values) == rows, (len(values), rows)
    return [v if ok else None for v, ok in zip(values, valid)]


def execute(stub, sql, *params, **kw):
    """All rows of a query as tuples."""
    timeout = kw.pop("timeout", 60)
    r = pb.ExecuteRequest(sql=sql, params=[pb.Param(is_null=p is None, text=str(p or ""))
                                           for p in params], **kw)
    rows, names, done = [], None, False
    for m in stub.Execute(r, timeout=timeout):
        assert not done, "a message after the last"
        if names is None:
            names = [c.name for c in m.columns]
        if m.HasField("batch"):
            columns = [column_values(c, m.batch.rows) for c in m.batch.columns]
            rows += list(zip(*columns)) if columns else [()] * m.batch.rows
        done = m.done
    assert done, "the last message is missing"
    return rows


def run(tests):
    """Runs the functions named on the command line, or all; prints one line each."""
    wanted = sys.argv[1:]
    failed = 0
    for test in tests:
        if wanted and test.__name__ not in wanted:
            continue
        started = time.time()
        try:
            test()
            print("ok   %-46s %.2f s" % (test.__name__, time.time() - started), flush=True)
        except Exception:  # every failure is told, the other tests still run
            import traceback
            traceback.print_exc()
            print("FAIL %s" % test.__name__, flush=True)
            failed += 1
    sys.exit(1 if failed else 0)
