// Promise: the PostgreSQL JDBC driver works as it is: TLS with SCRAM, text and binary parameters and
// results, server-prepared statements, fetch sizes, batches, COPY, cancel, read-only blocks,
// and DatabaseMetaData as BI tools read it.
//
// usage: java -cp postgresql.jar JdbcClient.java JDBC_URL USER PASSWORD
//
// The server holds 100 events of merchant 1 and of merchant 2, a millisecond apart.
import java.io.StringReader;
import java.io.StringWriter;
import java.math.BigDecimal;
import java.sql.Array;
import java.sql.Connection;
import java.sql.DatabaseMetaData;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.ResultSetMetaData;
import java.sql.SQLException;
import java.sql.Statement;
import java.sql.Timestamp;
import java.sql.Types;
import java.time.LocalDate;
import java.time.OffsetDateTime;
import java.util.ArrayList;
import java.util.List;
import java.util.Properties;
import org.postgresql.PGConnection;
import org.postgresql.copy.CopyManager;

public class JdbcClient {
    private static final long START_MS = 1_700_000_000_000L;

    private interface Test {
        void run(Connection db) throws Exception;
    }

    private static void same(Object got, Object wanted) {
        if (!java.util.Objects.equals(got, wanted))
            throw new AssertionError("got " + got + ", not " + wanted);
    }

    private static void refused(Connection db, String sql, String state) throws SQLException {
        try (Statement s = db.createStatement()) {
            s.execute(sql);
        } catch (SQLException e) {
            same(e.getSQLState(), state);
            return;
        }
        throw new AssertionError("not refused: " + sql);
    }

    private static List<String> column(ResultSet rows, String name) throws SQLException {
        List<String> all = new ArrayList<>();
        while (rows.next())
            all.add(rows.getString(name));
        return all;
    }

    private static void asks(Connection db) throws Exception {
        same(db.isValid(5), true);
        try (PreparedStatement s = db.prepareStatement(
                 "SELECT merchant_id, count(*) AS n, min(ts) AS first, sum(revenue) AS revenue, max(path) "
                 + "FROM events WHERE merchant_id = ? AND ts >= ? AND path = ? GROUP BY 1")) {
            for (int i = 0; i < 12; i++) { // from the fifth on named and with binary results
                int merchant = 1 + i % 2;
                s.setLong(1, merchant);
                s.setTimestamp(2, new Timestamp(START_MS));
                s.setString(3, "/");
                try (ResultSet r = s.executeQuery()) {
                    same(r.next(), true);
                    same(r.getInt("merchant_id"), merchant);
                    same(r.getLong("n"), 100L);
                    same(r.getTimestamp("first").getTime(), START_MS);
                    same(r.getObject("first", OffsetDateTime.class).toInstant().toEpochMilli(), START_MS);
                    same(r.getBigDecimal("revenue"), null);
                    same(r.wasNull(), true);
                    same(r.getString(5), "/");
                    same(r.next(), false);
                }
            }
        }
    }

    private static void types(Connection db) throws Exception {
        try (PreparedStatement s = db.prepareStatement(
                 "SELECT ?::numeric(10, 4), ?::boolean, ?::date, ?::double precision, ?::text, ?::bigint, "
                 + "?::timestamptz, ?::int, ?::text[], "
                 + "2 = ANY(?)")) {
            OffsetDateTime moment = OffsetDateTime.parse("2024-02-29T23:59:59.123456Z");
            Array words = db.createArrayOf("text", new String[] {"a", null, "c,\"d"});
            for (int i = 0; i < 8; i++) {
                s.setBigDecimal(1, new BigDecimal("-12.3400"));
                s.setBoolean(2, true);
                s.setObject(3, LocalDate.of(1969, 12, 31));
                s.setDouble(4, -0.25);
                s.setString(5, "caf\u00e9 \ud83d\ude00");
                s.setLong(6, 1L << 62);
                s.setObject(7, moment);
                s.setNull(8, Types.INTEGER);
                s.setArray(9, words);
                s.setArray(10, db.createArrayOf("int8", new Long[] {1L, 2L, 3L}));
                try (ResultSet r = s.executeQuery()) {
                    same(r.next(), true);
                    same(r.getBigDecimal(1), new BigDecimal("-12.3400"));
                    same(r.getBoolean(2), true);
                    same(r.getObject(3, LocalDate.class), LocalDate.of(1969, 12, 31));
                    same(r.getDouble(4), -0.25);
                    same(r.getString(5), "caf\u00e9 \ud83d\ude00");
                    same(r.getLong(6), 1L << 62);
                    same(r.getObject(7, OffsetDateTime.class).toInstant(), moment.toInstant());
                    same(r.getObject(8), null);
                    Object[] got = (Object[]) r.getArray(9).getArray();
                    same(List.of(got[0], String.valueOf(got[1]), got[2]).toString(), "[a, null, c,\"d]");
                    same(r.getBoolean(10), true);
                }
            }
        }
    }

    private static void errors(Connection db) throws Exception {
        refused(db, "SELECT nothing FROM events", "42703");
        refused(db, "SELECT * FROM nowhere", "42P01");
        refused(db, "SELEC 1", "42601");
        refused(db, "SELECT 1/0", "22012");
        refused(db, "SELECT 'x'::int", "22P02");
        try (Statement s = db.createStatement(); ResultSet r = s.executeQuery("SELECT 1")) {
            same(r.next(), true); // the connection lives on
        }
    }

    private static void cursors(Connection db) throws Exception {
        db.setAutoCommit(false);
        try (Statement s = db.createStatement()) {
            s.setFetchSize(30);
            try (ResultSet r = s.executeQuery(
                     "SELECT merchant_id, ts FROM events WHERE merchant_id < 3 ORDER BY 1, 2")) {
                int rows = 0;
                while (r.next())
                    same(r.getInt(1), 1 + rows++ / 100);
                same(rows, 200);
            }
            db.commit();
            try {
                s.executeQuery("SELECT nothing FROM events");
                throw new AssertionError("there is no such column");
            } catch (SQLException e) {
                same(e.getSQLState(), "42703");
            }
            refused(db, "SELECT 1", "25P02");
            db.rollback();
        }
        db.setAutoCommit(true);
    }

    private static void copies(Connection db) throws Exception {
        CopyManager copy = db.unwrap(PGConnection.class).getCopyAPI();
        StringBuilder csv = new StringBuilder();
        for (int i = 0; i < 1000; i++)
            csv.append("77,2024-06-01 00:00:00+00,\"/p,").append(i).append("\"\n");
        same(copy.copyIn("COPY events (merchant_id, ts, path) FROM STDIN WITH (FORMAT csv)",
                         new StringReader(csv.toString())), 1000L);
        StringWriter out = new StringWriter();
        same(copy.copyOut("COPY (SELECT merchant_id, count(*) FROM events WHERE merchant_id = 77 GROUP BY 1) "
                          + "TO STDOUT", out), 1L);
        same(out.toString(), "77\t1000\n");
    }

    private static void cancels(Connection db) throws Exception {
        try (Statement s = db.createStatement()) {
            s.setQueryTimeout(1);
            s.executeQuery("SELECT count(*) FROM generate_series(1, 1000000) a, generate_series(1, 1000000) b");
            throw new AssertionError("it came to its end");
        } catch (SQLException e) {
            same(e.getSQLState(), "57014");
        }
        same(db.isValid(5), true);
    }

    private static void settings(Connection db) throws Exception {
        same(db.getTransactionIsolation() != Connection.TRANSACTION_NONE, true);
        same(db.getSchema(), "public");
        db.setReadOnly(true);
        db.setReadOnly(false);
        try (Statement s = db.createStatement()) {
            s.execute("SET TIME ZONE 'Asia/Kolkata'");
            try (ResultSet r = s.executeQuery("SHOW TIME ZONE")) {
                r.next();
                same(r.getString(1), "Asia/Kolkata");
            }
            s.execute("RESET ALL");
        }
    }

    private static void browses(Connection db) throws Exception {
        DatabaseMetaData m = db.getMetaData();
        same(m.getDatabaseProductName(), "PostgreSQL");
        same(m.getDatabaseMajorVersion(), 15);
        same(column(m.getSchemas(), "TABLE_SCHEM").containsAll(
                 List.of("public", "pg_catalog", "information_schema")), true);
        same(column(m.getCatalogs(), "TABLE_CAT").size(), 1);
        same(column(m.getTableTypes(), "TABLE_TYPE").contains("TABLE"), true);
        same(column(m.getTables(null, "public", "%", new String[] {"TABLE"}), "TABLE_NAME").contains("events"),
             true);
        column(m.getPrimaryKeys(null, "public", "events"), "COLUMN_NAME");
        column(m.getIndexInfo(null, "public", "events", false, false), "INDEX_NAME");
        column(m.getImportedKeys(null, "public", "events"), "FKCOLUMN_NAME");
        column(m.getExportedKeys(null, "public", "events"), "FKCOLUMN_NAME");
        same(column(m.getTypeInfo(), "TYPE_NAME").containsAll(
                 List.of("int8", "text", "timestamptz", "numeric", "bool", "float8")), true);
        column(m.getUDTs(null, null, "%", null), "TYPE_NAME");
        same(column(m.getFunctions(null, "pg_catalog", "lower"), "FUNCTION_NAME").contains("lower"), true);
        column(m.getProcedures(null, null, "%"), "PROCEDURE_NAME");
        column(m.getTablePrivileges(null, "public", "events"), "PRIVILEGE");
        column(m.getColumnPrivileges(null, "public", "events", "path"), "PRIVILEGE");
        column(m.getBestRowIdentifier(null, "public", "events", DatabaseMetaData.bestRowSession, true),
               "COLUMN_NAME");
        column(m.getVersionColumns(null, "public", "events"), "COLUMN_NAME");
        column(m.getClientInfoProperties(), "NAME");
        same(m.getSQLKeywords().isEmpty(), false);
        same(m.getMaxColumnsInIndex() > 0, true);
        same(m.getMaxColumnNameLength() > 0, true);
        try (Statement s = db.createStatement(); ResultSet r = s.executeQuery("SELECT merchant_id, path FROM events")) {
            ResultSetMetaData columns = r.getMetaData();
            same(columns.getColumnTypeName(1), "int8");
        }
    }

    private static void columns(Connection db) throws Exception {
        DatabaseMetaData m = db.getMetaData();
        List<String> names = new ArrayList<>();
        try (ResultSet r = m.getColumns(null, "public", "events", "%")) {
            for (int i = 1; r.next(); i++) {
                names.add(r.getString("COLUMN_NAME"));
                same(r.getInt("ORDINAL_POSITION"), i);
                if (names.get(i - 1).equals("merchant_id")) {
                    same(r.getInt("DATA_TYPE"), Types.BIGINT);
                    same(r.getString("TYPE_NAME"), "int8");
                    same(r.getString("IS_NULLABLE"), "NO");
                }
                if (names.get(i - 1).equals("ts"))
                    same(r.getString("TYPE_NAME"), "timestamptz");
                if (names.get(i - 1).equals("path"))
                    same(r.getInt("DATA_TYPE"), Types.VARCHAR);
            }
        }
        same(names.containsAll(List.of("merchant_id", "ts", "event_name", "path")), true);
    }

    /** The driver asks for columns with row_number() OVER (…); false while the server refuses that. */
    private static boolean hasWindows(Connection db) throws SQLException {
        try (Statement s = db.createStatement(); ResultSet r = s.executeQuery("SELECT row_number() OVER ()")) {
            return r.next();
        } catch (SQLException e) {
            same(e.getSQLState(), "0A000");
            return false;
        }
    }

    public static void main(String[] args) throws Exception {
        String[] names = {"asks", "types", "errors", "cursors", "cancels", "settings", "browses", "columns", "copies"};
        Test[] tests = {JdbcClient::asks, JdbcClient::types, JdbcClient::errors, JdbcClient::cursors,
                        JdbcClient::cancels, JdbcClient::settings, JdbcClient::browses, JdbcClient::columns,
                        JdbcClient::copies};
        int failed = 0;
        for (String mode : new String[] {"extended", "simple"}) {
            for (int i = 0; i < tests.length; i++) {
                Properties how = new Properties();
                how.setProperty("user", args[1]);
                how.setProperty("password", args[2]);
                how.setProperty("preferQueryMode", mode);
                if (mode.equals("simple") && i == tests.length - 1)
                    continue; // copied once already
                try (Connection db = DriverManager.getConnection(args[0], how)) {
                    if (names[i].equals("columns") && !hasWindows(db)) {
                        System.out.println("left jdbc " + mode + " columns: no window functions yet");
                        continue;
                    }
                    tests[i].run(db);
                    System.out.println("ok   jdbc " + mode + " " + names[i]);
                } catch (Exception | AssertionError e) {
                    System.out.println("FAIL jdbc " + mode + " " + names[i]);
                    e.printStackTrace(System.out);
                    failed++;
                }
            }
        }
        System.exit(failed == 0 ? 0 : 1);
    }
}
