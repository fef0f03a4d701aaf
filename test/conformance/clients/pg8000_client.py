"""pg8000"""
import io
import ssl

import pg8000.native
from harness import WAY, digest, failure, plain, say

UNICODE = "Zoë – 東京 – 🦀 – Ω\u0301"


def open_one():
    context = ssl.create_default_context(cafile=WAY["ca"])
    return pg8000.native.Connection(WAY["user"], host=WAY["host"], port=WAY["port"], password=WAY["password"], database=WAY["database"], ssl_context=context, timeout=60)


def sqlstate(error):
    return error.args[0].get("C") if error.args and isinstance(error.args[0], dict) else None


def code_of(c, sql, **params):
    try:
        return plain(c.run(sql, **params))
    except pg8000.native.DatabaseError as error:
        return sqlstate(error)


def connect(c):
    return c.run("select 1")


def simple(c):
    return plain(c.run("select 1 as one, 'x' as x, null as n"))


def parameters(c):
    return plain(c.run("select (:a)::int4, (:b)::text, (:c)::bytea, (:d)::int8", a=7, b="a'b\\c", c=b"\0\xff", d=2**40))


def types(c):
    return plain(c.run("""select 1::int2, -2::int4, 9007199254740993::int8, 12345.678900::numeric, 1.5::float4, -2.25::float8, 'é'::text,
      '\\x00ff10'::bytea, 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'::uuid, '{"a":[1,null]}'::json, '{"b":2}'::jsonb, '2024-02-29 12:34:56.789+02'::timestamptz,
      '2024-02-29'::date, true, array[1,2,null]::int4[], array[['a','b,"'],['c',null]]::text[], null::text"""))


def prepared(c):
    statement = c.prepare("select (:v)::int4 * 2")
    found = [statement.run(v=i)[0][0] for i in range(20)]
    statement.close()
    return found


def transaction(c):
    for sql in ("create temp table t (i int)", "begin", "insert into t values (1)", "savepoint s", "insert into t values (2)", "rollback to savepoint s", "release savepoint s", "commit", "begin", "insert into t values (3)", "rollback"):
        c.run(sql)
    return plain(c.run("select i from t"))


def error_then_continue(c):
    return [code_of(c, sql) for sql in ("select 1/0", "selec 1", "select * from no_such", "select 2")]


def error_in_transaction(c):
    return [code_of(c, sql) for sql in ("begin", "select 1/0", "select 1", "rollback", "select 3")]


def copy(c):
    c.run("create temp table c (i int, t text)")
    c.run("copy c from stdin", stream=io.BytesIO(b"".join(b"%d\trow %d\n" % (i, i) for i in range(2000))))
    out = io.BytesIO()
    c.run("copy c to stdout", stream=out)
    return [digest([(out.getvalue(),)]), code_of(c, "select count(*) from c")]


def notify(c):
    c.run("listen conformance_channel")
    other = open_one()
    other.run("notify conformance_channel, 'hello'")
    other.close()
    c.run("select 1")
    return [[n[1], n[2]] for n in c.notifications]


def large_result(c):
    return digest(c.run("select g, 'row ' || g, md5(g::text) from generate_series(1, 200000) g"))


def large_parameter(c):
    text = "äx" * 400_000
    return plain(c.run("select length((:t)::text), md5((:t)::text), octet_length((:b)::bytea)", t=text, b=b"\0" * 2**20))


def empty(c):
    return [code_of(c, ""), code_of(c, "select 6")]


def multi(c):
    return plain(c.run("select 1; select 'two'; create temp table m (i int)"))


def notices(c):
    c.run("drop table if exists no_such_table")
    c.run("do $$ begin raise warning 'careful %', 1; end $$")
    return [[plain({k.decode() if isinstance(k, bytes) else k: v.decode() if isinstance(v, bytes) else v for k, v in n.items() if k in (b"S", b"C", b"M", "S", "C", "M")})] for n in c.notices]


def parameter_status(c):
    return sorted([k, v] for k, v in c.parameter_statuses.items() if k not in ("session_authorization", "application_name"))


def pool(_):
    held = [open_one() for _ in range(10)]
    found = [c.run("select (:v)::int4", v=i)[0][0] for i, c in enumerate(held)]
    for c in held:
        c.close()
    return found


def unicode(c):
    return [plain(c.run(f"select (:u)::text, length(:u), '{UNICODE}' as \"spålte\"", u=UNICODE)), [col["name"] for col in c.columns]]


def denied(c):
    found = [code_of(c, sql) for sql in ("delete from orders", "select upper(national_id) from customers limit 1", "drop table orders")]
    return [*found, code_of(c, "select count(*) > 0 from orders")]


def masked(c):
    return [plain(c.run("select id, email, national_id as n, card_number from customers where id <= :m order by id", m=3))]


for name in WAY["run"]:
    if name not in globals():
        say(name, unsupported=True)
        continue
    try:
        one = open_one()
        say(name, value=globals()[name](one))
        one.close()
    except Exception as error:
        say(name, error=failure(error, sqlstate(error)))
