"""psycopg 3"""
import threading
import time

import psycopg
from harness import WAY, digest, failure, plain, say
from psycopg.types.json import Json, Jsonb
from psycopg_pool import ConnectionPool

INFO = psycopg.conninfo.make_conninfo(
    host=WAY["host"], port=WAY["port"], user=WAY["user"], password=WAY["password"], dbname=WAY["database"],
    sslmode="verify-full", sslrootcert=WAY["ca"], connect_timeout=20)
UNICODE = "Zoë – 東京 – 🦀 – Ω\u0301"


def open_one():
    return psycopg.connect(INFO, autocommit=True)


def code_of(c, sql, params=None):
    try:
        return plain(c.execute(sql, params).fetchall())
    except psycopg.Error as error:
        return error.sqlstate


def connect(c):
    return [c.pgconn.ssl_in_use, c.execute("select 1").fetchone()[0]]


def simple(c):
    return plain(c.execute("select 1 as one, 'x' as x, null as n").fetchall())


def parameters(c):
    found = []
    for binary in (False, True):
        with c.cursor(binary=binary) as cur:
            found.append(plain(cur.execute("select %s::int4, %s::text, %b::bytea, %t::int8", (7, "a'b\\c", b"\0\xff", 2**40)).fetchall()))
    return found


def types(c):
    sql = """select 1::int2, -2::int4, 9007199254740993::int8, 12345.678900::numeric, 'NaN'::numeric, 1.5::float4, -2.25::float8,
      'é'::text, '\\x00ff10'::bytea, 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'::uuid, '{"a":[1,null]}'::json, '{"b":2}'::jsonb,
      '2024-02-29 12:34:56.789+02'::timestamptz, '2024-02-29'::date, '1 day 02:03:04'::interval, true, array[1,2,null]::int4[],
      array[['a','b,"'],['c',null]]::text[], null::text, '192.168.1.0/24'::cidr, int4range(1, 5)"""
    found = []
    for binary in (False, True):
        with c.cursor(binary=binary) as cur:
            found.append(plain(cur.execute(sql).fetchall()))
    sent = (Json({"a": 1}), Jsonb([1, 2]), [1, 2, 3], ["x", None], b"\x00\x01", None)
    found.append(plain(c.execute("select %s::json, %s::jsonb, %s::int4[], %s::text[], %s::bytea, %s::text", sent).fetchall()))
    return found


def prepared(c):
    return [c.execute("select %s::int4 * 2", (i,), prepare=True).fetchone()[0] for i in range(20)]


def transaction(c):
    c.execute("create temp table t (i int)")
    with c.transaction():
        c.execute("insert into t values (1)")
        try:
            with c.transaction():
                c.execute("insert into t values (2)")
                raise psycopg.Rollback()
        except psycopg.Rollback:
            pass
    try:
        with c.transaction():
            c.execute("insert into t values (3)")
            raise ValueError
    except ValueError:
        pass
    return plain(c.execute("select i from t").fetchall())


def error_then_continue(c):
    return [code_of(c, "select 1/0"), code_of(c, "selec 1"), code_of(c, "select * from no_such"), code_of(c, "select 2")]


def error_in_transaction(c):
    c.execute("begin")
    found = [code_of(c, "select 1/0"), code_of(c, "select 1"), c.info.transaction_status.name]
    c.execute("rollback")
    return [*found, c.info.transaction_status.name, code_of(c, "select 3")]


def pipeline(c):
    with c.pipeline():
        cursors = [c.execute("select %s::int4", (i,)) for i in range(50)]
        found = [cur.fetchone()[0] for cur in cursors]
    try:
        with c.pipeline():
            c.execute("select 1")
            c.execute("select 1/0")
            c.execute("select 2")
    except psycopg.Error as error:
        found.append(error.sqlstate)
    return [*found, code_of(c, "select 4")]


def copy(c):
    c.execute("create temp table c (i int, t text)")
    with c.cursor() as cur:
        with cur.copy("copy c from stdin") as out:
            for i in range(2000):
                out.write_row((i, f"row\t{i}"))
        with cur.copy("copy c to stdout") as back:
            text = digest(back.rows())
        with cur.copy("copy (select * from c) to stdout (format binary)") as back:
            size = sum(len(bytes(b)) for b in back)
    try:
        with c.cursor() as cur, cur.copy("copy c from stdin") as out:
            out.write("not a number\tx\n")
    except psycopg.Error as error:
        return [text, size, error.sqlstate, code_of(c, "select count(*) from c")]


def cursor(c):
    with c.transaction(), c.cursor(name="walk") as cur:
        cur.itersize = 100
        cur.execute("select g from generate_series(1, 1050) g")
        return [sum(row[0] for row in cur), cur.rownumber]


def cancel(c):
    timer = threading.Timer(0.4, c.cancel_safe)
    started = time.monotonic()
    timer.start()
    found = code_of(c, "select pg_sleep(20)")
    return [found, time.monotonic() - started < 10, code_of(c, "select 5")]


def notify(c):
    c.execute("listen conformance_channel")
    with open_one() as other:
        other.execute("notify conformance_channel, 'hello'")
    return [[n.channel, n.payload] for n in c.notifies(timeout=10, stop_after=1)]


def large_result(c):
    return digest(c.execute("select g, 'row ' || g, md5(g::text) from generate_series(1, 200000) g"))


def large_parameter(c):
    text = "äx" * 400_000
    return plain(c.execute("select length(%s::text), md5(%s::text), octet_length(%s::bytea)", (text, text, b"\0" * 2**20)).fetchone())


def empty(c):
    return [c.execute("").pgresult.status, code_of(c, "select 6")]


def multi(c):
    cur = c.execute("select 1; select 'two'; create temp table m (i int)")
    found = [plain(cur.fetchall())]
    while cur.nextset():
        found.append([cur.statusmessage, plain(cur.fetchall()) if cur.description else None])
    return found


def notices(c):
    seen = []
    c.add_notice_handler(lambda d: seen.append([d.severity, d.sqlstate, d.message_primary]))
    c.execute("drop table if exists no_such_table")
    c.execute("do $$ begin raise warning 'careful %', 1; end $$")
    return seen


def parameter_status(c):
    names = "server_version server_encoding client_encoding DateStyle IntervalStyle TimeZone integer_datetimes standard_conforming_strings is_superuser in_hot_standby default_transaction_read_only search_path".split()
    return [[n, c.info.parameter_status(n)] for n in names] + [c.info.server_version]


def pool(_):
    with ConnectionPool(INFO, min_size=10, max_size=10, timeout=30, kwargs={"autocommit": True}) as many:
        many.wait(30)
        held = [many.getconn() for _ in range(10)]
        found = [c.execute("select %s::int4", (i,)).fetchone()[0] for i, c in enumerate(held)]
        for c in held:
            many.putconn(c)
    return found


def unicode(c):
    with c.cursor(binary=True) as cur:
        return [plain(cur.execute("select %s::text, length(%s)", (UNICODE, UNICODE)).fetchone()), c.execute(f"select '{UNICODE}' as \"spålte\"").description[0].name]


def denied(c):
    found = [code_of(c, sql) for sql in ("delete from orders", "select upper(national_id) from customers limit 1", "drop table orders")]
    return [*found, code_of(c, "select count(*) > 0 from orders")]


def masked(c):
    found = []
    for binary in (False, True):
        with c.cursor(binary=binary) as cur:
            found.append(plain(cur.execute("select id, email, national_id as n, card_number from customers where id <= %s order by id", (3,), prepare=True).fetchall()))
    return found


for name in WAY["run"]:
    try:
        with open_one() as one:
            say(name, value=globals()[name](one))
    except Exception as error:
        say(name, error=failure(error, getattr(error, "sqlstate", None)))
