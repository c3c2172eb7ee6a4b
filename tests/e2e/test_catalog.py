"""Promise: clients browse Tally as they browse PostgreSQL 15.

pg_catalog and information_schema have its relations, columns and types (compared with a PostgreSQL 15
when one is installed); psql's \\d commands, SQLAlchemy's reflection and JDBC's DatabaseMetaData
answer; what clients sent to a PostgreSQL is answered as it answered (recordings in the folder that
TALLY_CAPTURES names; without it this is said). A merchant sees nobody else in any catalog.
"""
import glob
import os
import shutil
import subprocess
import sys
import tempfile

try:
    import psycopg2
except ImportError:
    print("catalog: python3-psycopg2 is not installed")
    sys.exit(77)

import harness
import replay
from harness import Tallyd, append, request, rpc, run

TALLY = os.path.join(harness.BUILD, "tally")
POSTGRES = "/usr/lib/postgresql/15/bin"
JDBC = "/usr/share/java/postgresql.jar"


def port(server):
    return server.pg.rsplit(":", 1)[1]


def url(server, user="tally", **more):
    return " ".join("%s=%s" % kv for kv in dict(
        {"host": "127.0.0.1", "port": port(server), "user": user, "dbname": "tally"}, **more).items())


def rows(conninfo, sql, *values):
    db = psycopg2.connect(conninfo)
    try:
        with db, db.cursor() as c:
            c.execute(sql, values or None)
            return c.fetchall()
    finally:
        db.close()


def psql(server, *commands):
    args = ["psql", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", url(server)]
    for c in commands:
        args += ["-c", c]
    r = subprocess.run(args, capture_output=True, text=True, timeout=60, env=dict(os.environ, PAGER="cat"))
    assert r.returncode == 0, (commands, r)
    return r.stdout


def unsupported(server):
    """What the statements of clients need and this build has not, as it says itself."""
    found = []
    for what, sql, mark in (("window functions", "SELECT row_number() OVER ()", " OVER ("),
                            ("INSERT", "INSERT INTO recorded (ts, merchant_id) VALUES (now(), 1)", "insert into ")):
        try:
            rows(url(server), sql)
        except psycopg2.Error as e:
            if e.pgcode == "0A000":
                print("catalog: %s are not supported: statements with them are left out" % what)
                found.append(mark)
    return found


def psql_describes():
    with Tallyd() as server:
        assert psql(server, "\\dt") == "public|events|table|tally\n"
        assert psql(server, "\\dm") == "public|events_15m|materialized view|tally\n"
        assert psql(server, "\\d").split() == ["public|events|table|tally",
                                               "public|events_15m|materialized", "view|tally"]
        shown = psql(server, "\\d events").splitlines()
        assert shown[:3] == ["merchant_id|bigint||not null|", "ts|timestamp with time zone||not null|",
                             "event_name|text|||"], shown
        assert "revenue|numeric(18,4)|||" in shown or any(s.startswith("revenue|numeric") for s in shown)
        assert not any(s.startswith("props|") for s in shown), "props cannot be read whole"
        assert psql(server, "\\dn") == "public|tally\n"
        assert psql(server, "\\l").startswith("tally|tally|UTF8|C|C|")
        assert psql(server, "\\du").startswith("tally|Superuser")
        assert "lower|text|text|func" in psql(server, "\\df lower")
        assert psql(server, "\\df nothing") == ""
        assert "pg_catalog|pg_class|table|tally" in psql(server, "\\dtS pg_class")
        # All others answer, though there is nothing to tell.
        for command in """\\dv \\di \\ds \\dE \\dT \\dp \\dD \\dx \\dy \\db \\dC \\dO \\da \\dA \\dAc \\dAf \\dAo \\dAp
                \\dF \\dFd \\dFp \\dFt \\dL \\dP \\drds \\dRp \\dRs \\ddp \\dc \\dX \\det \\des \\deu \\dew \\dl \\do \\dg
                \\dconfig \\dt+ \\d+ \\l+ \\dn+ \\du+ \\df+ \\dT+ \\dS \\dv+ \\dm+ \\di+ \\db+""".split():
            psql(server, command)
        for command in ("\\d+ events", "\\d events_15m", "\\d+ events_15m", "\\d pg_class", "\\d pg_tables",
                        "\\d information_schema.columns", "\\dT+ int4", "\\do+ ="):
            psql(server, command)


def names_and_oids():
    with Tallyd() as server:
        u = url(server)
        assert rows(u, "SELECT 'pg_class'::regclass::oid, 'int4'::regtype::oid, 'array_in'::regproc::oid, "
                    "'pg_catalog'::regnamespace::oid") == [(1259, 23, 750, 11)]
        assert rows(u, "SELECT 1259::regclass, 23::regtype, 'events'::regclass, 750::regproc::text") == \
            [("pg_class", "integer", "events", "array_in")]
        assert rows(u, "SELECT to_regclass('nothing'), pg_typeof(1.5), pg_typeof(now())") == \
            [(None, "numeric", "timestamp with time zone")]
        for sql, state in (("SELECT 'nothing'::regclass", "42P01"), ("SELECT 'nothing'::regtype", "42704"),
                           ("SELECT * FROM pg_authid", "42501"), ("SELECT * FROM pg_nothing", "42P01"),
                           ("SELECT current_setting('nothing')", "42704")):
            try:
                rows(u, sql)
            except psycopg2.Error as e:
                assert e.pgcode == state, (sql, e)
            else:
                raise AssertionError("not refused: " + sql)
        db = psycopg2.connect(u)
        with db, db.cursor() as c:
            c.execute("SELECT set_config('application_name', 'a tool', false), current_setting('TimeZone')")
            assert c.fetchone()[0] == "a tool"
            c.execute("SELECT application_name, usename, datname FROM pg_stat_activity")
            assert c.fetchall() == [("a tool", "tally", "tally")]
            c.execute("SELECT pg_backend_pid() = pid, client_addr, client_port > 0, backend_start >= "
                      "pg_postmaster_start_time(), now() - backend_start < interval '1 hour', "
                      "inet_server_addr(), inet_server_port() FROM pg_stat_activity")
            assert c.fetchall() == [(True, "127.0.0.1", True, True, True, "127.0.0.1", int(port(server)))]
            c.execute("CREATE TABLE seen (merchant_id bigint NOT NULL, ts timestamptz NOT NULL, a numeric(9,2))")
        db.commit()
        with db, db.cursor() as c:
            c.execute("SELECT column_name, is_nullable, data_type, numeric_precision, numeric_scale, udt_name "
                      "FROM information_schema.columns WHERE table_name = 'seen' ORDER BY ordinal_position")
            assert c.fetchall() == [("merchant_id", "NO", "bigint", 64, 0, "int8"),
                                    ("ts", "NO", "timestamp with time zone", None, None, "timestamptz"),
                                    ("a", "YES", "numeric", 18, 2, "numeric")], c.fetchall()
            c.execute("SELECT c.relname, n.nspname, count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = "
                      "c.relnamespace JOIN pg_attribute a ON a.attrelid = c.oid WHERE c.oid = 'seen'::regclass "
                      "GROUP BY 1, 2")
            assert c.fetchall() == [("seen", "public", 3)]
        db.close()


def merchants_see_themselves_alone():
    with Tallyd() as server:
        with server.channel() as channel:
            for m in (1, 2):
                append(rpc.IngestStub(channel), [request(100, b"p", m, merchant=m)])
        secrets = {}
        for name, merchant in (("shop-one", "1"), ("shop-two", "2")):
            r = subprocess.run([TALLY, "token", "create", name, "--data", server.data, "--merchant", merchant,
                                "--scope", "read"], capture_output=True, text=True)
            assert r.returncode == 0, r
            secrets[name] = r.stdout.strip().split()[-1]
        seen = []
        for name in secrets:
            u = url(server, user=name, password=secrets[name])
            everything = []
            tables = rows(u, "SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = "
                          "c.relnamespace WHERE n.nspname <> 'public'")
            for schema, table in tables:
                try:
                    found = rows(u, 'SELECT * FROM %s."%s"' % (schema, table))
                except psycopg2.Error as e:
                    assert e.pgcode == "42501", (schema, table, e)
                    continue
                everything.append((table, [[str(v) for v in row] for row in found]))
            other = "shop-two" if name == "shop-one" else "shop-one"
            assert other not in str(everything), "another user is seen"
            assert rows(u, "SELECT rolname FROM pg_roles ORDER BY 1") == [(name,), ("tally",)]
            assert rows(u, "SELECT usename FROM pg_stat_activity") == [(name,)]
            assert rows(u, "SELECT pg_relation_size('events'), pg_database_size('tally')") == [(0, 0)]
            assert rows(u, "SELECT has_table_privilege('events', 'SELECT'), "
                        "has_table_privilege('events', 'INSERT')") == [(True, False)]
            # What differs between two merchants is their name, their connection and their clock.
            seen.append([(t, r) for t, r in everything if t not in
                         ("pg_stat_activity", "pg_roles", "pg_user", "pg_settings", "column_privileges",
                          "table_privileges", "enabled_roles", "applicable_roles")])
        assert seen[0] == seen[1]


def columns_are_those_of_postgresql():
    server_program = os.path.join(POSTGRES, "postgres")
    if not os.path.exists(server_program):
        print("catalog: no PostgreSQL 15 is installed; its recorded columns are what is compared with")
        return
    where = tempfile.mkdtemp(prefix="tally-pg-", dir=os.environ.get("TMPDIR"))
    os.chmod(where, 0o755)
    data = os.path.join(where, "data")
    as_user = []
    if os.getuid() == 0:  # which PostgreSQL refuses
        shutil.chown(where, "nobody")
        as_user = ["runuser", "-u", "nobody", "--"]
    try:
        subprocess.run(as_user + [os.path.join(POSTGRES, "initdb"), "-D", data, "-U", "postgres", "-A", "trust",
                                  "--locale=C", "-E", "UTF8"], check=True, capture_output=True)
        subprocess.run(as_user + [os.path.join(POSTGRES, "pg_ctl"), "-D", data, "-w", "-l", where + "/log", "-o",
                                  "-c listen_addresses= -k " + where, "start"], check=True,
                       stdout=subprocess.DEVNULL)
        sql = ("SELECT n.nspname, c.relname, c.relkind, a.attnum, a.attname, t.typname, a.attnotnull "
               "FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
               "JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 "
               "JOIN pg_type t ON t.oid = a.atttypid "
               "WHERE n.nspname IN ('pg_catalog', 'information_schema') AND c.relkind IN ('r', 'v') "
               "ORDER BY n.nspname, c.relname, a.attnum")
        described = "SELECT * FROM %s.\"%s\" WHERE false"
        with Tallyd() as server:
            wanted = rows("host=%s user=postgres dbname=postgres" % where, sql)
            found = rows(url(server), sql)
            different = sorted(set(wanted) ^ set(found))
            # Of relations that nobody may read.
            different = [d for d in different if d[1] not in ("pg_statistic", "pg_statistic_ext_data")]
            assert not different, different[:10]
            assert len(found) > 2000
            theirs = psycopg2.connect("host=%s user=postgres dbname=postgres" % where)
            ours = psycopg2.connect(url(server))
            theirs.autocommit = ours.autocommit = True
            for schema, table in sorted({w[:2] for w in wanted}):
                with theirs.cursor() as a, ours.cursor() as b:
                    a.execute(described % (schema, table))
                    try:
                        b.execute(described % (schema, table))
                    except psycopg2.Error as e:
                        assert e.pgcode == "42501", (table, e)
                        continue
                    want = [(d.name, d.type_code) for d in a.description]
                    got = [(d.name, d.type_code) for d in b.description]
                    assert got == want, (table, [x for x in zip(want, got) if x[0] != x[1]])
            theirs.close()
            ours.close()
    finally:
        subprocess.run(as_user + [os.path.join(POSTGRES, "pg_ctl"), "-D", data, "-m", "immediate", "stop"],
                       capture_output=True)
        shutil.rmtree(where, ignore_errors=True)


def sqlalchemy_reflects():
    try:
        import sqlalchemy
    except ImportError:
        print("catalog: python3-sqlalchemy is not installed")
        return
    with Tallyd() as server:
        engine = sqlalchemy.create_engine("postgresql://tally@127.0.0.1:%s/tally" % port(server))
        look = sqlalchemy.inspect(engine)
        assert look.get_schema_names() == ["information_schema", "public"]
        assert look.get_table_names() == ["events"] and look.get_view_names() == ["events_15m"]
        assert look.has_table("events") and not look.has_table("nothing")
        columns = {c["name"]: c for c in look.get_columns("events")}
        assert str(columns["merchant_id"]["type"]) == "BIGINT" and not columns["merchant_id"]["nullable"]
        assert str(columns["ts"]["type"]) == "TIMESTAMP" and columns["ts"]["type"].timezone
        assert str(columns["path"]["type"]) == "TEXT" and columns["path"]["nullable"]
        assert look.get_pk_constraint("events")["constrained_columns"] == []
        assert look.get_foreign_keys("events") == [] and look.get_indexes("events") == []
        assert look.get_unique_constraints("events") == [] and look.get_check_constraints("events") == []
        assert look.get_table_comment("events") == {"text": None} and look.get_enums() == []
        tables = sqlalchemy.MetaData()
        tables.reflect(engine, views=True)
        with engine.connect() as db:
            events = tables.tables["events"]
            assert db.execute(sqlalchemy.select(events).limit(1)).fetchall() == []
            assert db.execute(sqlalchemy.select(tables.tables["events_15m"].c.events)).fetchall() == []
        engine.dispose()


def jdbc_browses():
    if not shutil.which("java") or not os.path.exists(JDBC):
        print("catalog: java or %s is not there" % JDBC)
        return
    with Tallyd() as server:
        r = subprocess.run(["java", "-cp", JDBC, os.path.join(harness.HERE, "CatalogClient.java"),
                            "jdbc:postgresql://127.0.0.1:%s/tally" % port(server)], capture_output=True,
                           text=True, timeout=280)
        assert r.returncode == 0, r
        told = dict(line.split(" ", 1) for line in r.stdout.splitlines())
        no_windows = " OVER (" in unsupported(server)
        assert not [line for line in r.stdout.splitlines() if " failed: " in line and not
                    (no_windows and line.startswith("getColumns"))], r.stdout
        assert told["getTables"] == "2 events,events_15m", told
        assert told["getSystemTables"] == "1 pg_class"
        assert no_windows or ("merchant_id" in told["getColumns"] and "utm_campaign" in told["getColumns"])
        assert "int8" in told["getTypeInfo"] and told["getCatalogs"] == "1 tally"
        assert told["getSchemas"] == "3 information_schema,pg_catalog,public"
        assert told["getFunctions"].startswith("1 lower") and told["getPrimaryKeys"].startswith("0")
        assert told["getSQLKeywords"] == "true" and told["getMaxColumnNameLength"] == "63"


def recordings_are_answered():
    folder = os.environ.get("TALLY_CAPTURES", os.path.join(harness.ROOT, "tests", "captures"))
    files = sorted(glob.glob(os.path.join(folder, "*.log")))
    if not files:
        print("catalog: no recordings of clients in %s: nothing was replayed" % folder)
        return
    with Tallyd() as server:
        left_out = unsupported(server)
        for file in files:
            connection = replay.Connection("127.0.0.1", port(server), "tally", "tally")
            replay.prepare(connection)
            different, count = replay.replay(connection, file, skip=left_out)
            connection.close()
            assert not different, (file, different[0])
            print("catalog: %d exchanges of %s answered alike" % (count, os.path.basename(file)))


if __name__ == "__main__":
    run([psql_describes, names_and_oids, merchants_see_themselves_alone,
         columns_are_those_of_postgresql, sqlalchemy_reflects, jdbc_browses, recordings_are_answered])
