"""asyncpg"""
import asyncio
import io
import ssl
import time

import asyncpg
from harness import WAY, digest, failure, plain, say

UNICODE = "Zoë – 東京 – 🦀 – Ω\u0301"


def settings():
    context = ssl.create_default_context(cafile=WAY["ca"])
    return {"host": WAY["host"], "port": WAY["port"], "user": WAY["user"], "password": WAY["password"],
            "database": WAY["database"], "ssl": context, "timeout": 20}


async def code_of(c, sql, *params):
    try:
        return plain([tuple(r) for r in await c.fetch(sql, *params)])
    except asyncpg.PostgresError as error:
        return error.sqlstate


async def connect(c):
    return await c.fetchval("select 1")


async def simple(c):
    return [await c.execute("select 1"), await c.execute("select 'x' from generate_series(1, 3)")]


async def parameters(c):
    return plain(tuple(await c.fetchrow("select $1::int4, $2::text, $3::bytea, $4::int8", 7, "a'b\\c", b"\0\xff", 2**40)))


async def types(c):
    return plain(tuple(await c.fetchrow("""select 1::int2, -2::int4, 9007199254740993::int8, 12345.678900::numeric, 'NaN'::numeric, 1.5::float4,
      -2.25::float8, 'é'::text, '\\x00ff10'::bytea, 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'::uuid, '{"a":[1,null]}'::json, '{"b":2}'::jsonb,
      '2024-02-29 12:34:56.789+02'::timestamptz, '2024-02-29'::date, '1 day 02:03:04'::interval, true, array[1,2,null]::int4[],
      array[['a','b,"'],['c',null]]::text[], null::text, '192.168.1.0/24'::cidr, int4range(1, 5), row(1, 'x')""")))


async def prepared(c):
    statement = await c.prepare("select $1::int4 * 2")
    return [await statement.fetchval(i) for i in range(20)] + [str(statement.get_parameters()), str(statement.get_attributes())]


async def transaction(c):
    await c.execute("create temp table t (i int)")
    async with c.transaction():
        await c.execute("insert into t values (1)")
        inner = c.transaction()
        await inner.start()
        await c.execute("insert into t values (2)")
        await inner.rollback()
    outer = c.transaction()
    await outer.start()
    await c.execute("insert into t values (3)")
    await outer.rollback()
    return await code_of(c, "select i from t")


async def error_then_continue(c):
    return [await code_of(c, sql) for sql in ("select 1/0", "selec 1", "select * from no_such", "select 2")]


async def error_in_transaction(c):
    outer = c.transaction()
    await outer.start()
    found = [await code_of(c, "select 1/0"), await code_of(c, "select 1")]
    await outer.rollback()
    return [*found, await code_of(c, "select 3")]


async def pipeline(c):
    await c.execute("create temp table p (i int primary key, t text)")
    await c.executemany("insert into p values ($1, $2)", [(i, f"x{i}") for i in range(500)])
    try:
        await c.executemany("insert into p values ($1, $2)", [(1000, "a"), (1, "b")])
    except asyncpg.PostgresError as error:
        return [error.sqlstate, await code_of(c, "select count(*), sum(i) from p")]


async def copy(c):
    await c.execute("create temp table c (i int, t text)")
    done = await c.copy_records_to_table("c", records=[(i, f"row\t{i}") for i in range(2000)])
    out = io.BytesIO()
    back = await c.copy_from_query("select * from c order by i", output=out)
    return [done, back, digest([(out.getvalue(),)])]


async def cursor(c):
    total = 0
    async with c.transaction():
        async for row in c.cursor("select g from generate_series(1, 1050) g", prefetch=100):
            total += row[0]
    return total


async def cancel(c):
    started = time.monotonic()
    try:
        await c.fetch("select pg_sleep(20)", timeout=0.4)
    except asyncio.TimeoutError:
        return [time.monotonic() - started < 10, await code_of(c, "select 5")]


async def notify(c):
    got = asyncio.get_running_loop().create_future()
    await c.add_listener("conformance_channel", lambda _c, _pid, channel, payload: got.done() or got.set_result([channel, payload]))
    other = await asyncpg.connect(**settings())
    await other.execute("notify conformance_channel, 'hello'")
    await other.close()
    return await asyncio.wait_for(got, 10)


async def large_result(c):
    return digest(tuple(r) for r in await c.fetch("select g, 'row ' || g, md5(g::text) from generate_series(1, 200000) g"))


async def large_parameter(c):
    text = "äx" * 400_000
    return plain(tuple(await c.fetchrow("select length($1::text), md5($1::text), octet_length($2::bytea)", text, b"\0" * 2**20)))


async def multi(c):
    return await c.execute("select 1; select 'two'; create temp table m (i int)")


async def notices(c):
    seen = []
    c.add_log_listener(lambda _c, m: seen.append([m.severity, m.sqlstate, m.message]))
    await c.execute("drop table if exists no_such_table")
    await c.execute("do $$ begin raise warning 'careful %', 1; end $$")
    await asyncio.sleep(0.1)
    return seen


async def parameter_status(c):
    s = c.get_settings()
    return [[n, getattr(s, n, None)] for n in ("server_version", "server_encoding", "client_encoding", "TimeZone", "DateStyle", "is_superuser", "search_path")] + [str(c.get_server_version())]


async def pool(_):
    many = await asyncpg.create_pool(min_size=10, max_size=10, **settings())
    try:
        held = [await many.acquire() for _ in range(10)]
        found = [await c.fetchval("select $1::int4", i) for i, c in enumerate(held)]
        for c in held:
            await many.release(c)  # sends the driver's reset statements
        async with many.acquire() as again:
            return [*found, await again.fetchval("select 7")]
    finally:
        many.terminate()


async def unicode(c):
    row = await c.fetchrow(f"select $1::text, length($1), '{UNICODE}' as \"spålte\"", UNICODE)
    return [plain(tuple(row)), list(row.keys())]


async def denied(c):
    found = [await code_of(c, sql) for sql in ("delete from orders", "select upper(national_id) from customers limit 1", "drop table orders")]
    return [*found, await code_of(c, "select count(*) > 0 from orders")]


async def masked(c):
    return [plain([tuple(r) for r in await c.fetch("select id, email, national_id as n, card_number from customers where id <= $1 order by id", 3)])]


async def main():
    for name in WAY["run"]:
        if name not in globals():  # an empty query: the driver takes its missing tag for a text
            say(name, unsupported=True)
            continue
        try:
            c = await asyncpg.connect(**settings())
            try:
                say(name, value=await asyncio.wait_for(globals()[name](c), 45))
            finally:
                c.terminate()
        except Exception as error:
            say(name, error=failure(error, getattr(error, "sqlstate", None)))


asyncio.run(main())
