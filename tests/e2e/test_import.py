#!/usr/bin/env python3
"""Imports every web log of the shared data, and asks what DuckDB answers from the same files.

usage: test_import.py BUILD_DIR

The data is looked for in $TALLY_SHARED_DATA, then beside the repository (../shared/data); without
it the test says so and is skipped (exit code 77). DuckDB comes from pip into a virtual environment
in the build directory; where it cannot be had, the answers kept with the data are compared alone.
"""
import collections
import csv
import datetime
import gzip
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.path.abspath(sys.argv[1]) if len(sys.argv) > 1 else os.path.join(ROOT, "build/release")
TALLY = os.path.join(BUILD, "tally")
TALLYD = os.path.join(BUILD, "tallyd")
DATA = os.environ.get("TALLY_SHARED_DATA") or os.path.join(ROOT, "..", "shared", "data")
if not os.path.isdir(DATA) and os.path.exists(os.path.join(ROOT, ".git")):
    # A linked work tree stands elsewhere than the repository.
    common = subprocess.run(["git", "-C", ROOT, "rev-parse", "--path-format=absolute",
                             "--git-common-dir"], stdout=subprocess.PIPE, text=True).stdout.strip()
    DATA = os.path.join(os.path.dirname(common), "..", "shared", "data")
ELASTIC = os.path.join(DATA, "weblog", "elastic_apache_combined.log")
NASA = os.path.join(DATA, "weblog", "nasa_aug95_5000_mixed_zones.log")
NASA_TSV = os.path.join(DATA, "weblog", "nasa_19950801.tsv")


def duck_python():
    """A Python that has DuckDB, or None."""
    folder = os.path.join(ROOT, "build", "bench-venv")
    python = os.path.join(folder, "bin", "python")
    try:
        if not os.path.exists(python):
            subprocess.run([sys.executable, "-m", "venv", folder], check=True,
                           stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        has = subprocess.run([python, "-c", "import duckdb"], stderr=subprocess.DEVNULL)
        if has.returncode:
            subprocess.run([python, "-m", "pip", "install", "-q", "duckdb"], check=True,
                           stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=300)
        return python
    except (subprocess.SubprocessError, OSError):
        return None


# The three logs as tables of DuckDB, each line taken apart by a regular expression.
DUCK_TABLES = r"""
import json, sys, duckdb
A = json.loads(sys.argv[1])
con = duckdb.connect()
con.execute("SET TimeZone = 'UTC'")
def lines(path):
    return f"(SELECT line FROM read_csv('{path}', columns={{'line': 'VARCHAR'}}, delim='\\x01', " \
           "quote='', escape='', header=false, auto_detect=false, encoding='latin-1', " \
           "max_line_size=1000000))"
HEAD = r'^(\S+) (\S+) (.+?) \[([^\]]+)\] "((?:[^"\\]|\\.)*)" (\d{3}) (\d+|-)'
TAIL = r' "((?:[^"\\]|\\.)*)" "((?:[^"\\]|\\.)*)"'
def table(name, path, combined):
    pattern = (HEAD + (TAIL if combined else "")).replace("'", "''")
    def part(i):
        return f"regexp_extract(line, '{pattern}', {i})"
    con.execute(f'''CREATE TABLE {name} AS
      SELECT {part(1)} AS client,
        timezone('UTC', strptime({part(4)}, '%d/%b/%Y:%H:%M:%S %z')::TIMESTAMPTZ) AS ts,
        {part(5)} AS request, {part(6)}::INT AS status,
        CASE {part(7)} WHEN '-' THEN 0 ELSE {part(7)}::BIGINT END AS bytes
        {", " + part(8) + " AS referrer" if combined else ""}
      FROM {lines(path)} WHERE regexp_matches(line, '{pattern}')''')
    con.execute(f'''ALTER TABLE {name} ADD COLUMN path VARCHAR''')
    con.execute(f'''UPDATE {name} SET path = split_part(regexp_replace(regexp_replace(
        request, '^[A-Za-z]+ ', ''), ' HTTP/\S+$', ''), '?', 1)''')
table("elastic", A["elastic"], True)
table("nasa", A["nasa"], False)
con.execute(f'''CREATE TABLE tsv AS SELECT host AS client, make_timestamp(time::BIGINT * 1000000) AS ts,
    method, url, response AS status, bytes FROM read_csv('{A["tsv"]}', delim='\t', header=true,
    quote='', escape='', null_padding=true, auto_detect=false, columns={{'host': 'VARCHAR', 'logname': 'VARCHAR',
    'time': 'BIGINT', 'method': 'VARCHAR', 'url': 'VARCHAR', 'response': 'BIGINT',
    'bytes': 'BIGINT', 'referer': 'VARCHAR', 'useragent': 'VARCHAR'}})''')
out = []
for sql in A["questions"]:
    out.append([[None if c is None else str(c) for c in row] for row in con.execute(sql).fetchall()])
print(json.dumps(out))
"""


def questions(table, tally_table, path, bytes_, status):
    """[(name, tally SQL, DuckDB SQL)], the same for each log."""
    return [
        ("hits per hour",
         f"SELECT date_trunc('hour', ts), count(*), sum({bytes_}) FROM {tally_table} "
         "GROUP BY 1 ORDER BY 1",
         f"SELECT date_trunc('hour', ts), count(*), sum(bytes) FROM {table} GROUP BY 1 ORDER BY 1"),
        ("unique addresses per day",
         f"SELECT date_trunc('day', ts), count(DISTINCT {'host' if table == 'tsv' else 'client'}) "
         f"FROM {tally_table} GROUP BY 1 ORDER BY 1",
         f"SELECT date_trunc('day', ts), count(DISTINCT client) FROM {table} GROUP BY 1 ORDER BY 1"),
        ("top paths",
         f"SELECT {path}, count(*) FROM {tally_table} GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT 50",
         f"SELECT {'url' if table == 'tsv' else 'path'}, count(*) FROM {table} GROUP BY 1 "
         "ORDER BY 2 DESC, 1 LIMIT 50"),
        ("status mix",
         f"SELECT {status}, count(*), min(ts), max(ts) FROM {tally_table} GROUP BY 1 ORDER BY 1",
         f"SELECT status, count(*), min(ts), max(ts) FROM {table} GROUP BY 1 ORDER BY 1"),
        ("p95 of bytes",
         f"SELECT {status}, percentile_disc(0.95) WITHIN GROUP (ORDER BY {bytes_}), "
         f"percentile_disc(0.5) WITHIN GROUP (ORDER BY {bytes_}), max({bytes_}) "
         f"FROM {tally_table} GROUP BY 1 ORDER BY 1",
         "SELECT status, quantile_disc(bytes, 0.95), quantile_disc(bytes, 0.5), max(bytes) "
         f"FROM {table} GROUP BY 1 ORDER BY 1"),
    ]


def norm(cell):
    """Both engines' spelling of times, numbers and NULL as one."""
    if cell is None or cell == "":
        return ""
    text = str(cell)
    found = re.fullmatch(r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d)(?:\.0+)?(?:\+00(?::00)?)?", text)
    return found.group(1) if found else text


class Import(unittest.TestCase):
    """Straight into a directory."""

    server = None

    @classmethod
    def setUpClass(cls):
        cls.work = tempfile.mkdtemp(prefix="tally-import-")
        cls.data = os.path.join(cls.work, "data")
        cls.where = ["--data", cls.data]
        cls.begin()
        cls.imports = {
            "elastic": cls.load("combined", ELASTIC),
            "nasa": cls.load("common", NASA, "--table", "nasa_log"),
            "tsv": cls.load("csv", NASA_TSV, "--table", "nasa_tsv", "--create"),
        }

    @classmethod
    def begin(cls):
        pass

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(cls.work)

    @classmethod
    def load(cls, how, path, *more):
        rejects = os.path.join(cls.work, os.path.basename(path) + ".rejected")
        done = subprocess.run([TALLY, "import", "--format", how, *cls.where, "--json", "--rejects",
                               rejects, *more, path], stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True)
        if done.returncode:
            raise AssertionError(f"import of {path}: {done.stderr}")
        result = json.loads(done.stdout)
        result["stderr"], result["rejects"] = done.stderr, rejects
        return result

    @classmethod
    def ask(cls, sql, *more):
        done = subprocess.run([TALLY, "query", *cls.where, "--format", "csv", *more, sql],
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        if done.returncode:
            raise AssertionError(f"{sql}: {done.stderr}")
        return [[norm(c) for c in row] for row in list(csv.reader(io.StringIO(done.stdout)))[1:]]

    def expected(self, name):
        with open(os.path.join(DATA, "expected", name + ".csv")) as f:
            return [[norm(c) for c in row] for row in list(csv.reader(f))[1:]]

    # ---- what was loaded ----

    def test_counts(self):
        self.assertEqual(self.imports["elastic"]["stored"], 9999)
        self.assertEqual(self.imports["elastic"]["malformed"], 1)
        self.assertIn(":8899:", self.imports["elastic"]["stderr"])
        with open(ELASTIC, "rb") as f:
            line = f.read().split(b"\n")[8898]
        with open(self.imports["elastic"]["rejects"], "rb") as f:
            self.assertEqual(f.read(), line + b"\n")
        self.assertEqual(self.imports["nasa"]["stored"], 5000)
        self.assertEqual(self.imports["tsv"]["stored"], 30969)
        self.assertEqual(self.ask("SELECT count(*) FROM access_log"), [["9999"]])

    def test_same_file_again(self):
        again = self.load("combined", ELASTIC)
        self.assertEqual(again["stored"], 0)
        self.assertGreater(again["duplicate_batches"], 0)
        self.assertEqual(self.ask("SELECT count(*) FROM access_log"), [["9999"]])

    def test_fields(self):
        row = self.ask("SELECT merchant_id, ts, client, method, target, path, query, protocol, "
                       "status, bytes, referrer FROM access_log WHERE query LIKE 'flav=%' "
                       "ORDER BY ts, client LIMIT 1")[0]
        self.assertEqual(row[5] + "?" + row[6], row[4])
        self.assertEqual(row[0], "1")
        # Requests of HTTP/0.9 have no protocol.
        self.assertEqual(self.ask("SELECT count(*) FROM nasa_log WHERE protocol IS NULL"), [["35"]])

    # ---- the answers kept with the data ----

    def test_hours_of_elastic(self):
        got = self.ask("SELECT date_trunc('hour', ts), count(*), count(DISTINCT client), sum(bytes)"
                       " FROM access_log GROUP BY 1 ORDER BY 1")
        self.assertEqual(got, self.expected("O01"))

    def test_paths_of_elastic(self):
        got = self.ask("SELECT path, count(*), count(DISTINCT client) FROM access_log GROUP BY path"
                       " ORDER BY 2 DESC, 1 LIMIT 20")
        self.assertEqual(got, self.expected("O02"))

    def test_status_of_elastic(self):
        got = self.ask("SELECT status, count(*), max(bytes) FROM access_log GROUP BY 1 ORDER BY 1")
        self.assertEqual(got, [[r[0], r[1], r[4]] for r in self.expected("O03")])

    def test_referrers_of_elastic(self):
        rows = self.ask("SELECT lower(split_part(split_part(referrer, '/', 3), ':', 1)), count(*) "
                        "FROM access_log WHERE referrer LIKE 'http%' GROUP BY 1 ORDER BY 2 DESC, 1 "
                        "LIMIT 22")
        own = ("semicomplete.com", "www.semicomplete.com")
        self.assertEqual([r for r in rows if r[0] not in own][:20], self.expected("O04"))

    def test_hours_of_nasa(self):
        got = self.ask("SELECT date_trunc('hour', ts), count(*), sum(bytes), count(DISTINCT client)"
                       " FROM nasa_log GROUP BY 1 ORDER BY 1")
        self.assertEqual(got, self.expected("O06"))

    def test_quarters_of_nasa(self):
        got = self.ask("SELECT time_bucket('15 minutes', ts), count(*), count(DISTINCT host), "
                       "sum(bytes), count(*) FILTER (WHERE response >= 400) FROM nasa_tsv "
                       "GROUP BY 1 ORDER BY 1")
        self.assertEqual(got, self.expected("O07"))

    # ---- the same questions to DuckDB ----

    def test_against_duckdb(self):
        python = duck_python()
        if not python:
            self.skipTest("DuckDB cannot be installed here")
        asked = (questions("elastic", "access_log", "path", "bytes", "status") +
                 questions("nasa", "nasa_log", "path", "bytes", "status") +
                 questions("tsv", "nasa_tsv", "url", "bytes", "response"))
        given = {"elastic": ELASTIC, "nasa": NASA, "tsv": NASA_TSV,
                 "questions": [d for _, _, d in asked]}
        done = subprocess.run([python, "-c", DUCK_TABLES, json.dumps(given)], check=True,
                              stdout=subprocess.PIPE, text=True)
        for (name, tally, duck), rows in zip(asked, json.loads(done.stdout)):
            with self.subTest(name, sql=tally):
                self.assertEqual(self.ask(tally), [[norm(c) for c in r] for r in rows])


class ImportThroughServer(Import):
    """The same through a server."""

    @classmethod
    def begin(cls):
        cls.server = subprocess.Popen([TALLYD, "--data", cls.data, "--grpc", "127.0.0.1:0"],
                                      stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        cls.where = ["--server", re.search(r"grpc=(\S+)", cls.server.stdout.readline()).group(1)]

    @classmethod
    def tearDownClass(cls):
        cls.server.send_signal(signal.SIGTERM)
        code = cls.server.wait(30)
        cls.server.stdout.close()
        shutil.rmtree(cls.work)
        assert code == 0, f"tallyd ended with exit code {code}"

    def test_operator(self):
        for command in ("status", "inspect", "verify", "compact"):
            done = subprocess.run([TALLY, command, *self.where, "--json"], stdout=subprocess.PIPE,
                                  text=True)
            self.assertEqual(done.returncode, 0, command)
            json.loads(done.stdout)

    def test_error_has_a_place(self):
        done = subprocess.run([TALLY, "query", *self.where, "SELECT nothing FROM access_log"],
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.assertEqual(done.returncode, 1)
        self.assertIn("42703", done.stderr)
        self.assertIn("       ^", done.stderr)


class OtherInputs(unittest.TestCase):
    """CSV, NDJSON and compressed input, and what goes wrong with them."""

    def setUp(self):
        self.work = tempfile.mkdtemp(prefix="tally-import-")
        self.where = ["--data", os.path.join(self.work, "data")]

    def tearDown(self):
        shutil.rmtree(self.work)

    def tally(self, *args, code=0, text=None):
        done = subprocess.run([TALLY, args[0], *self.where, *args[1:]], input=text,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.assertEqual(done.returncode, code, done.stderr.decode())
        return done.stdout.decode(), done.stderr.decode()

    def ask(self, sql, *more):
        out, _ = self.tally("query", "--format", "csv", *more, sql)
        return list(csv.reader(io.StringIO(out)))[1:]

    def file(self, name, content):
        path = os.path.join(self.work, name)
        with open(path, "wb") as f:
            f.write(content)
        return path

    def test_csv(self):
        path = self.file("a.csv", b'When,Shop,Name,Amount,Note\n'
                                  b'2024-05-01T10:00:00+02:00,7,"Smith, J",1.5,"two\nlines"\n'
                                  b'2024-05-01 09:00:00,7,"say ""x""",2,\n'
                                  b'never,7,x,3,\n'
                                  b'2024-05-02,7,y,much,""\n'
                                  b'2024-05-02,8,z,4,""\n')
        out, err = self.tally("import", "--format", "csv", "--table", "sales", "--create", "--map",
                              "ts=When,merchant_id=Shop,amount=Amount", "--json", path)
        # The sample is the file itself, which makes Amount TEXT: 'much' is among its values.
        self.assertEqual(json.loads(out)["stored"], 4)
        self.assertIn("a.csv:5: ts: 'never' is no TIMESTAMPTZ", err)
        self.assertEqual(self.ask("SELECT ts, name, note FROM sales WHERE merchant_id = 7 "
                                  "ORDER BY ts LIMIT 2"),
                         [["2024-05-01 08:00:00+00", "Smith, J", "two\nlines"],
                          ["2024-05-01 09:00:00+00", 'say "x"', ""]])
        self.assertEqual(self.ask("SELECT count(*), count(note) FROM sales"), [["4", "3"]])
        with open(path + ".rejected", "rb") as f:
            self.assertEqual(f.read(), b"never,7,x,3,\n")

    def test_ndjson_into_events(self):
        lines = [{"at": 1714557600 + i, "shop": i % 3, "page": {"url": {"path": f"/p{i}"}},
                  "extra": {"plan": "pro", "n": i}, "paid": "12.345"} for i in range(1000)]
        text = gzip.compress("\n".join(json.dumps(x) for x in lines).encode())
        out, _ = self.tally("import", "--format", "ndjson", "--table", "events", "--map",
                            "ts=at,merchant_id=shop,path=page.url.path,props=extra,revenue=paid,"
                            "event_name='visit'", "--json", "-", text=text)
        self.assertEqual(json.loads(out)["stored"], 1000)
        self.assertEqual(self.ask("SELECT path, props['plan'], props['n'], revenue, event_name "
                                  "FROM events WHERE merchant_id = 1 AND path = '/p400'"),
                         [["/p400", "pro", "400", "12.3450", "visit"]])

    def test_logs_as_events(self):
        if not os.path.exists(ELASTIC):
            self.skipTest("no shared data")
        self.tally("import", "--format", "combined", "--as-events", "--merchant", "5", "--rejects",
                   os.path.join(self.work, "r"), ELASTIC)
        got = self.ask("SELECT count(*), count(DISTINCT visitor_id), count(ip_prefix), "
                       "count(*) FILTER (WHERE is_bot) FROM events WHERE merchant_id = 5 AND "
                       "event_name = 'pageview'")[0]
        self.assertEqual(got[0], "9999")
        self.assertEqual(got[2], "9999")
        self.assertGreater(int(got[1]), 1753)
        self.assertGreater(int(got[3]), 500)

    def test_mistakes(self):
        path = self.file("a.csv", b"a,b\n1,2\n")
        self.tally("import", "--format", "csv", path, code=1)  # no table named
        self.tally("import", "--format", "csv", "--table", "t", path, code=1)  # not there
        self.tally("import", "--format", "csv", "--table", "t", "--create", path, code=1)  # no time
        self.tally("import", "--format", "xml", path, code=2)
        self.tally("import", "--format", "csv", code=2)
        self.tally("import", "--format", "csv", "--table", "events", "/no/such/file", code=1)
        self.tally("query", "SELECT count(*) FROM events; -- a comment\n", code=0)
        self.tally("query", "--frmat", "csv", "SELECT 1", code=2)
        self.tally("generate", "--format", "csv", code=2)  # two places at once
        _, err = self.tally("import", "--format", "csv", "--table", "events", "--map",
                            "nothing=a", path, code=1)
        self.assertIn("no column nothing", err)

    def test_statements_of_a_stream(self):
        self.tally("generate", "--events", "1000", "--merchants", "5")
        out, err = self.tally("query", "--format", "csv", "-", text=b"\\timing\n"
                              b"SELECT count(*) FROM events; -- first; of two\n"
                              b"SELECT ';' AS s,\n 2 AS t;\nSELECT 3")
        self.assertEqual(out, 'count\n1000\ns,t\n;,2\n?column?\n3\n')
        self.assertEqual(err.count("Time: "), 3)
        out, _ = self.tally("query", "--format", "json", "SELECT 1 AS a, 'x\"y' AS b, NULL AS c, "
                            "1.50 AS d, true AS e")
        self.assertEqual(json.loads(out), [{"a": 1, "b": 'x"y', "c": None, "d": 1.5, "e": True}])
        out, _ = self.tally("query", "SELECT 1 AS a, 'grün' AS bc")
        self.assertEqual(out, " a |  bc\n---+------\n 1 | grün\n(1 row)\n")

    def test_generate_again(self):
        first, _ = self.tally("generate", "--events", "30000", "--merchants", "5", "--json")
        again, _ = self.tally("generate", "--events", "30000", "--merchants", "5", "--json")
        self.assertEqual(json.loads(first)["stored"], 30000)
        self.assertEqual(json.loads(again)["duplicate_batches"], 3)
        self.assertEqual(self.ask("SELECT count(*) FROM events"), [["30000"]])

    def test_generated_forms_agree(self):
        """The same rows, whether they come as batches, as CSV or as NDJSON."""
        options = ["--events", "20000", "--merchants", "50", "--event-ids", "--props",
                   "--ip-prefixes", "--server-fields"]
        self.tally("generate", *options)
        sums = ("count(*), count(DISTINCT path), count(DISTINCT session_id), sum(revenue), "
                "sum(duration_ms), sum(bytes), count(DISTINCT user_agent), count(utm_term), "
                "count(DISTINCT event_id), count(props['plan']), count(DISTINCT ip_prefix), "
                "min(ts), max(ts), count(*) FILTER (WHERE is_bot), count(DISTINCT referrer), "
                "count(query), count(DISTINCT query)")
        mine = self.ask(f"SELECT {sums} FROM events")
        for form in ("csv", "ndjson"):
            text = subprocess.run([TALLY, "generate", "--format", form, *options],
                                  stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                                  check=True).stdout
            self.where = ["--data", os.path.join(self.work, form)]
            out, _ = self.tally("import", "--format", form, "--table", "events", "--json", "-",
                                text=text)
            self.assertEqual(json.loads(out)["stored"], 20000, form)
            self.assertEqual(self.ask(f"SELECT {sums} FROM events"), mine, form)


if __name__ == "__main__":
    if not os.path.exists(TALLY):
        print(f"no {TALLY}: build it first")
        sys.exit(1)
    classes = [OtherInputs]
    if os.path.exists(ELASTIC):
        classes += [Import, ImportThroughServer]
    else:
        print(f"SKIPPED the web logs: there is no {DATA} (set TALLY_SHARED_DATA)")
    suite = unittest.TestSuite(unittest.defaultTestLoader.loadTestsFromTestCase(c) for c in classes)
    result = unittest.TextTestRunner(verbosity=2).run(suite)
    sys.exit(0 if result.wasSuccessful() else 1)
