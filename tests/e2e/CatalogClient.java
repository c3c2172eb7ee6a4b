// Promise: DatabaseMetaData of the PostgreSQL JDBC driver, which is what BI tools browse by, answers.
//
// usage: java -cp postgresql.jar CatalogClient.java JDBC_URL
//
// One line per call: its name, the number of rows, and some of what they say.
import java.sql.Connection;
import java.sql.DatabaseMetaData;
import java.sql.DriverManager;
import java.sql.ResultSet;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;

public class CatalogClient {
    private interface Call {
        ResultSet run() throws Exception;
    }

    private static void tell(String name, String column, Call call) {
        List<String> values = new ArrayList<>();
        try (ResultSet rows = call.run()) {
            int width = rows.getMetaData().getColumnCount();
            while (rows.next()) {
                for (int i = 1; i <= width; i++)
                    rows.getObject(i);
                values.add(String.valueOf(rows.getString(column)));
            }
        } catch (Exception e) {
            System.out.println(name + " failed: " + e.getMessage().replace('\n', ' '));
            return;
        }
        Collections.sort(values);
        int rows = values.size();
        System.out.println(name + " " + rows + " " + String.join(",", values.subList(0, Math.min(rows, 60))));
    }

    public static void main(String[] args) throws Exception {
        try (Connection db = DriverManager.getConnection(args[0], "tally", "")) {
            DatabaseMetaData m = db.getMetaData();
            String[] kinds = {"TABLE", "VIEW", "MATERIALIZED VIEW"};
            tell("getTables", "TABLE_NAME", () -> m.getTables(null, "public", "%", kinds));
            tell("getSystemTables", "TABLE_NAME", () -> m.getTables(null, "pg_catalog", "pg_cl%", null));
            tell("getColumns", "COLUMN_NAME", () -> m.getColumns(null, "public", "events", "%"));
            tell("getPrimaryKeys", "COLUMN_NAME", () -> m.getPrimaryKeys(null, "public", "events"));
            tell("getIndexInfo", "INDEX_NAME", () -> m.getIndexInfo(null, "public", "events", false, true));
            tell("getTypeInfo", "TYPE_NAME", () -> m.getTypeInfo());
            tell("getSchemas", "TABLE_SCHEM", () -> m.getSchemas());
            tell("getCatalogs", "TABLE_CAT", () -> m.getCatalogs());
            tell("getTableTypes", "TABLE_TYPE", () -> m.getTableTypes());
            tell("getProcedures", "PROCEDURE_NAME", () -> m.getProcedures(null, null, "%"));
            tell("getFunctions", "FUNCTION_NAME", () -> m.getFunctions(null, null, "low%"));
            tell("getFunctionColumns", "COLUMN_NAME", () -> m.getFunctionColumns(null, null, "lower", "%"));
            tell("getImportedKeys", "FK_NAME", () -> m.getImportedKeys(null, "public", "events"));
            tell("getExportedKeys", "FK_NAME", () -> m.getExportedKeys(null, "public", "events"));
            tell("getCrossReference", "FK_NAME",
                 () -> m.getCrossReference(null, null, "events", null, null, "events"));
            tell("getBestRowIdentifier", "COLUMN_NAME",
                 () -> m.getBestRowIdentifier(null, "public", "events", 0, true));
            tell("getTablePrivileges", "PRIVILEGE", () -> m.getTablePrivileges(null, "public", "events"));
            tell("getColumnPrivileges", "PRIVILEGE",
                 () -> m.getColumnPrivileges(null, "public", "events", "path"));
            tell("getUDTs", "TYPE_NAME", () -> m.getUDTs(null, "public", "%", null));
            System.out.println("getSQLKeywords " + (m.getSQLKeywords().length() > 100));
            System.out.println("getMaxColumnNameLength " + m.getMaxColumnNameLength());
        }
    }
}
