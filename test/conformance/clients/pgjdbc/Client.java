import java.io.*;
import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.sql.*;
import java.util.*;
import org.postgresql.PGConnection;
import org.postgresql.util.PSQLException;

/** pgjdbc: settings come as system properties, one JSON line a behaviour goes out. */
public final class Client {
    private static final String UNICODE = "Zoë – 東京 – 🦀 – Ω\u0301";
    private static final Properties SETTINGS = System.getProperties();

    interface Behaviour { Object run(Connection c) throws Exception; }

    private static Connection open(String... more) throws SQLException {
        Properties p = new Properties();
        p.setProperty("user", SETTINGS.getProperty("way.user"));
        p.setProperty("password", System.getenv("CONFORMANCE_PASSWORD"));
        p.setProperty("sslmode", "verify-full");
        p.setProperty("sslrootcert", SETTINGS.getProperty("way.ca"));
        p.setProperty("loginTimeout", "20");
        for (int i = 0; i < more.length; i += 2) p.setProperty(more[i], more[i + 1]);
        return DriverManager.getConnection("jdbc:postgresql://" + SETTINGS.getProperty("way.place"), p);
    }

    private static List<Object> rows(ResultSet r) throws SQLException {
        List<Object> all = new ArrayList<>();
        while (r.next()) {
            List<Object> line = new ArrayList<>();
            for (int i = 1; i <= r.getMetaData().getColumnCount(); i++) line.add(r.getMetaData().getColumnTypeName(i).equals("bytea") ? HexFormat.of().formatHex(r.getBytes(i)) : r.getString(i));
            all.add(line);
        }
        return all;
    }

    private static Object codeOf(Connection c, String sql, Object... parameters) {
        try (PreparedStatement s = c.prepareStatement(sql)) {
            for (int i = 0; i < parameters.length; i++) s.setObject(i + 1, parameters[i]);
            return s.execute() ? rows(s.getResultSet()) : s.getUpdateCount();
        } catch (SQLException e) {
            return e.getSQLState();
        }
    }

    private static String hex(byte[] bytes) throws Exception {
        return HexFormat.of().formatHex(MessageDigest.getInstance("SHA-256").digest(bytes));
    }

    private static Object simple(String mode) throws SQLException {
        try (Connection c = open("preferQueryMode", mode)) {
            return codeOf(c, "select 1 as one, 'x' as x, null as n");
        }
    }

    private static final Map<String, Behaviour> BEHAVIOURS = new LinkedHashMap<>();
    static {
        BEHAVIOURS.put("connect", c -> codeOf(c, "select 1"));
        BEHAVIOURS.put("simple", c -> List.of(simple("simple"), simple("extended"), simple("extendedForPrepared"), simple("extendedCacheEverything")));
        BEHAVIOURS.put("parameters", c -> codeOf(c, "select ?::int4, ?::text, ?::bytea, ?::int8", 7, "a'b\\c", new byte[] {0, -1}, 1L << 40));
        BEHAVIOURS.put("types", c -> {
            String sql = "select 1::int2, -2::int4, 9007199254740993::int8, 12345.678900::numeric, 'NaN'::numeric, 1.5::float4, -2.25::float8, 'é'::text,"
                + " '\\x00ff10'::bytea, 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'::uuid, '{\"a\":[1,null]}'::json, '{\"b\":2}'::jsonb,"
                + " '2024-02-29 12:34:56.789+02'::timestamptz, '2024-02-29'::date, true, array[1,2,null]::int4[], array[['a','b,\"'],['c',null]]::text[], null::text";
            List<Object> found = new ArrayList<>();
            found.add(codeOf(c, sql));
            try (Connection binary = open("prepareThreshold", "-1")) { found.add(codeOf(binary, sql)); }
            return found;
        });
        BEHAVIOURS.put("prepared", c -> {
            List<Object> found = new ArrayList<>();
            try (PreparedStatement s = c.prepareStatement("select ?::int4 * 2")) {
                for (int i = 0; i < 20; i++) {
                    s.setInt(1, i);
                    found.add(rows(s.executeQuery()));
                }
            }
            return found;
        });
        BEHAVIOURS.put("transaction", c -> {
            codeOf(c, "create temp table t (i int)");
            c.setAutoCommit(false);
            codeOf(c, "insert into t values (1)");
            Savepoint s = c.setSavepoint();
            codeOf(c, "insert into t values (2)");
            c.rollback(s);
            c.commit();
            codeOf(c, "insert into t values (3)");
            c.rollback();
            c.setAutoCommit(true);
            return codeOf(c, "select i from t");
        });
        BEHAVIOURS.put("error_then_continue", c -> List.of(codeOf(c, "select 1/0"), codeOf(c, "selec 1"), codeOf(c, "select * from no_such"), codeOf(c, "select 2")));
        BEHAVIOURS.put("error_in_transaction", c -> {
            c.setAutoCommit(false);
            List<Object> found = new ArrayList<>(List.of(codeOf(c, "select 1/0"), codeOf(c, "select 1")));
            c.rollback();
            found.add(codeOf(c, "select 3"));
            return found;
        });
        BEHAVIOURS.put("pipeline", c -> {
            codeOf(c, "create temp table p (i int primary key)");
            List<Object> found = new ArrayList<>();
            try (PreparedStatement s = c.prepareStatement("insert into p values (?)")) {
                for (int i = 0; i < 500; i++) { s.setInt(1, i); s.addBatch(); }
                found.add(s.executeBatch().length);
                s.setInt(1, 1000); s.addBatch();
                s.setInt(1, 1); s.addBatch();
                try { s.executeBatch(); } catch (BatchUpdateException e) { found.add(e.getSQLState()); }
            }
            found.add(codeOf(c, "select count(*), sum(i) from p"));
            return found;
        });
        BEHAVIOURS.put("copy", c -> {
            codeOf(c, "create temp table c (i int, t text)");
            StringBuilder text = new StringBuilder();
            for (int i = 0; i < 2000; i++) text.append(i).append("\trow ").append(i).append('\n');
            var copy = c.unwrap(PGConnection.class).getCopyAPI();
            long in = copy.copyIn("copy c from stdin", new ByteArrayInputStream(text.toString().getBytes(StandardCharsets.UTF_8)));
            ByteArrayOutputStream out = new ByteArrayOutputStream();
            long count = copy.copyOut("copy c to stdout", out);
            String failed = "none";
            try { copy.copyIn("copy c from stdin", new StringReader("x\ty\n")); } catch (PSQLException e) { failed = e.getSQLState(); }
            return List.of(in, count, hex(out.toByteArray()), failed, codeOf(c, "select count(*) from c"));
        });
        BEHAVIOURS.put("cursor", c -> {
            c.setAutoCommit(false);
            try (Statement s = c.createStatement()) {
                s.setFetchSize(100); // portal suspension
                long sum = 0;
                ResultSet r = s.executeQuery("select g from generate_series(1, 1050) g");
                while (r.next()) sum += r.getInt(1);
                c.commit();
                return sum;
            }
        });
        BEHAVIOURS.put("cancel", c -> {
            long started = System.nanoTime();
            try (Statement s = c.createStatement()) {
                new Timer(true).schedule(new TimerTask() { public void run() { try { s.cancel(); } catch (SQLException e) { throw new IllegalStateException(e); } } }, 400);
                Object found = "none";
                try { s.execute("select pg_sleep(20)"); } catch (SQLException e) { found = e.getSQLState(); }
                return List.of(found, System.nanoTime() - started < 10_000_000_000L, codeOf(c, "select 5"));
            }
        });
        BEHAVIOURS.put("notify", c -> {
            codeOf(c, "listen conformance_channel");
            try (Connection other = open()) { codeOf(other, "notify conformance_channel, 'hello'"); }
            List<Object> found = new ArrayList<>();
            for (var n : c.unwrap(PGConnection.class).getNotifications(10_000)) found.add(List.of(n.getName(), n.getParameter()));
            return found;
        });
        BEHAVIOURS.put("large_result", c -> {
            MessageDigest sum = MessageDigest.getInstance("SHA-256");
            int count = 0;
            try (Statement s = c.createStatement(); ResultSet r = s.executeQuery("select g, 'row ' || g, md5(g::text) from generate_series(1, 200000) g")) {
                for (; r.next(); count++) sum.update((r.getString(1) + r.getString(2) + r.getString(3)).getBytes(StandardCharsets.UTF_8));
            }
            return List.of(count, HexFormat.of().formatHex(sum.digest()));
        });
        BEHAVIOURS.put("large_parameter", c -> codeOf(c, "select length(?::text), octet_length(?::bytea)", "äx".repeat(400_000), new byte[1 << 20]));
        BEHAVIOURS.put("empty", c -> List.of(codeOf(c, ""), codeOf(c, "select 6")));
        BEHAVIOURS.put("multi", c -> {
            List<Object> found = new ArrayList<>();
            try (Statement s = c.createStatement()) {
                boolean more = s.execute("select 1; select 'two'; create temp table m (i int)");
                while (more || s.getUpdateCount() != -1) {
                    found.add(more ? rows(s.getResultSet()) : s.getUpdateCount());
                    more = s.getMoreResults();
                }
            }
            return found;
        });
        BEHAVIOURS.put("notices", c -> {
            List<Object> found = new ArrayList<>();
            try (Statement s = c.createStatement()) {
                for (String sql : List.of("drop table if exists no_such_table", "do $$ begin raise warning 'careful %', 1; end $$")) {
                    s.execute(sql);
                    for (SQLWarning w = s.getWarnings(); w != null; w = w.getNextWarning()) found.add(List.of(w.getSQLState(), w.getMessage()));
                    s.clearWarnings();
                }
            }
            return found;
        });
        BEHAVIOURS.put("parameter_status", c -> {
            Map<String, String> all = new TreeMap<>(c.unwrap(PGConnection.class).getParameterStatuses());
            all.remove("session_authorization");
            all.put("product", c.getMetaData().getDatabaseProductVersion());
            return all;
        });
        BEHAVIOURS.put("pool", c -> {
            List<Connection> held = new ArrayList<>();
            List<Object> found = new ArrayList<>();
            for (int i = 0; i < 10; i++) { held.add(open()); found.add(codeOf(held.get(i), "select ?::int4", i)); }
            for (Connection each : held) each.close();
            return found;
        });
        BEHAVIOURS.put("unicode", c -> List.of(codeOf(c, "select ?::text, length(?), '" + UNICODE + "' as \"spålte\"", UNICODE, UNICODE)));
        BEHAVIOURS.put("denied", c -> List.of(codeOf(c, "delete from orders"), codeOf(c, "select upper(national_id) from customers limit 1"), codeOf(c, "drop table orders"), codeOf(c, "select count(*) > 0 from orders")));
        BEHAVIOURS.put("masked", c -> {
            List<Object> found = new ArrayList<>();
            for (String threshold : List.of("5", "-1")) try (Connection each = open("prepareThreshold", threshold)) {
                found.add(codeOf(each, "select id, email, national_id as n, card_number from customers where id <= ? order by id", 3));
            }
            return found;
        });
    }

    private static String json(Object v) {
        if (v == null) return "null";
        if (v instanceof Number || v instanceof Boolean) return v.toString();
        if (v instanceof Collection<?> all) return "[" + String.join(",", all.stream().map(Client::json).toList()) + "]";
        if (v instanceof Map<?, ?> map) return "{" + String.join(",", map.entrySet().stream().map(e -> json(e.getKey()) + ":" + json(e.getValue())).toList()) + "}";
        StringBuilder out = new StringBuilder("\"");
        for (char ch : v.toString().toCharArray()) out.append(ch == '"' || ch == '\\' || ch < 32 || ch > 126 ? String.format("\\u%04x", (int) ch) : ch);
        return out.append('"').toString();
    }

    public static void main(String[] args) {
        for (String name : SETTINGS.getProperty("way.run").split(",")) {
            try (Connection c = open()) {
                System.out.println(json(Map.of("behaviour", name, "value", BEHAVIOURS.get(name).run(c))));
            } catch (Exception e) {
                String code = e instanceof SQLException sql && sql.getSQLState() != null ? sql.getSQLState() : "none";
                System.out.println(json(Map.of("behaviour", name, "error", Map.of("code", code, "message", String.valueOf(e.getMessage()).lines().findFirst().orElse("")))));
            }
        }
    }
}
