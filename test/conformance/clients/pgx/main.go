// pgx v5: settings come in CONFORMANCE, one JSON line a behaviour goes out.
package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

type way struct {
	Host, User, Password, Database, CA string
	Port                               int
	Run                                []string
}

var (
	ctx     = context.Background()
	info    way
	unicode = "Zoë – 東京 – 🦀 – Ω\u0301"
)

func dsn() string {
	query := url.Values{"sslmode": {"verify-full"}, "sslrootcert": {info.CA}, "connect_timeout": {"20"}}
	place := url.URL{Scheme: "postgres", User: url.UserPassword(info.User, info.Password), Host: fmt.Sprintf("%s:%d", info.Host, info.Port), Path: info.Database, RawQuery: query.Encode()}
	return place.String()
}

func open(change func(*pgx.ConnConfig)) (*pgx.Conn, error) {
	config, err := pgx.ParseConfig(dsn())
	if err != nil {
		return nil, err
	}
	if change != nil {
		change(config)
	}
	return pgx.ConnectConfig(ctx, config)
}

func code(err error) string {
	var known *pgconn.PgError
	if errors.As(err, &known) {
		return known.Code
	}
	if err == nil {
		return "ok"
	}
	return fmt.Sprintf("%T", err)
}

type querier interface {
	Query(context.Context, string, ...any) (pgx.Rows, error)
}

func rows(c querier, sql string, args ...any) ([][]string, error) {
	found, err := c.Query(ctx, sql, args...)
	if err != nil {
		return nil, err
	}
	defer found.Close()
	all := [][]string{}
	for found.Next() {
		values, err := found.Values()
		if err != nil {
			return nil, err
		}
		line := make([]string, len(values))
		for i, v := range values {
			if at, yes := v.(time.Time); yes {
				v = at.UTC()
			}
			line[i] = fmt.Sprintf("%T:%v", v, v)
		}
		all = append(all, line)
	}
	return all, found.Err()
}

func codeOf(c querier, sql string, args ...any) any {
	found, err := rows(c, sql, args...)
	if err != nil {
		return code(err)
	}
	return found
}

func exec(c *pgx.Conn, statements ...string) error {
	for _, sql := range statements {
		if _, err := c.Exec(ctx, sql); err != nil {
			return err
		}
	}
	return nil
}

type behaviour func(*pgx.Conn) (any, error)

var behaviours = map[string]behaviour{
	"connect": func(c *pgx.Conn) (any, error) { return rows(c, "select 1") },
	"simple": func(c *pgx.Conn) (any, error) {
		return rows(c, "select 1 as one, 'x' as x, null as n", pgx.QueryExecModeSimpleProtocol)
	},
	"parameters": func(c *pgx.Conn) (any, error) {
		found := []any{}
		for _, mode := range []pgx.QueryExecMode{pgx.QueryExecModeCacheStatement, pgx.QueryExecModeCacheDescribe, pgx.QueryExecModeDescribeExec, pgx.QueryExecModeExec, pgx.QueryExecModeSimpleProtocol} {
			found = append(found, codeOf(c, "select $1::int4, $2::text, $3::bytea, $4::int8", mode, int32(7), "a'b\\c", []byte{0, 255}, int64(1)<<40))
		}
		return found, nil
	},
	"types": func(c *pgx.Conn) (any, error) {
		sql := `select 1::int2, -2::int4, 9007199254740993::int8, 12345.678900::numeric, 'NaN'::numeric, 1.5::float4, -2.25::float8,
      'é'::text, '\x00ff10'::bytea, 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'::uuid, '{"a":[1,null]}'::json, '{"b":2}'::jsonb,
      '2024-02-29 12:34:56.789+02'::timestamptz, '2024-02-29'::date, '1 day 02:03:04'::interval, true, array[1,2,null]::int4[],
      array[['a','b,"'],['c',null]]::text[], null::text, '192.168.1.0/24'::cidr, int4range(1, 5)`
		return []any{codeOf(c, sql), codeOf(c, sql, pgx.QueryExecModeSimpleProtocol), codeOf(c, sql, pgx.QueryResultFormats{pgx.TextFormatCode})}, nil
	},
	"prepared": func(c *pgx.Conn) (any, error) {
		if _, err := c.Prepare(ctx, "twice", "select $1::int4 * 2"); err != nil {
			return nil, err
		}
		found := []any{}
		for i := range 20 {
			found = append(found, codeOf(c, "twice", int32(i)))
		}
		return found, c.Deallocate(ctx, "twice")
	},
	"transaction": func(c *pgx.Conn) (any, error) {
		if err := exec(c, "create temp table t (i int)"); err != nil {
			return nil, err
		}
		tx, err := c.Begin(ctx)
		if err != nil {
			return nil, err
		}
		_, err = tx.Exec(ctx, "insert into t values (1)")
		inner, innerErr := tx.Begin(ctx)
		if err = errors.Join(err, innerErr); err != nil {
			return nil, err
		}
		_, err = inner.Exec(ctx, "insert into t values (2)")
		err = errors.Join(err, inner.Rollback(ctx), tx.Commit(ctx), exec(c, "begin", "insert into t values (3)", "rollback"))
		return codeOf(c, "select i from t"), err
	},
	"error_then_continue": func(c *pgx.Conn) (any, error) {
		return []any{codeOf(c, "select 1/0"), codeOf(c, "selec 1"), codeOf(c, "select * from no_such"), codeOf(c, "select 2")}, nil
	},
	"error_in_transaction": func(c *pgx.Conn) (any, error) {
		err := exec(c, "begin")
		found := []any{codeOf(c, "select 1/0"), codeOf(c, "select 1"), string(c.PgConn().TxStatus())}
		err = errors.Join(err, exec(c, "rollback"))
		return append(found, string(c.PgConn().TxStatus()), codeOf(c, "select 3")), err
	},
	"pipeline": func(c *pgx.Conn) (any, error) {
		batch := &pgx.Batch{}
		for i := range 50 {
			batch.Queue("select $1::int4", int32(i))
		}
		results := c.SendBatch(ctx, batch)
		sum := int32(0)
		for range 50 {
			var i int32
			if err := results.QueryRow().Scan(&i); err != nil {
				return nil, err
			}
			sum += i
		}
		err := results.Close()
		failing := &pgx.Batch{}
		for _, sql := range []string{"select 1", "select 1/0", "select 2"} {
			failing.Queue(sql)
		}
		return []any{sum, code(c.SendBatch(ctx, failing).Close()), codeOf(c, "select 4")}, err
	},
	"copy": func(c *pgx.Conn) (any, error) {
		if err := exec(c, "create temp table c (i int, t text)"); err != nil {
			return nil, err
		}
		count, err := c.CopyFrom(ctx, pgx.Identifier{"c"}, []string{"i", "t"}, pgx.CopyFromSlice(2000, func(i int) ([]any, error) { return []any{int32(i), fmt.Sprintf("row\t%d", i)}, nil }))
		if err != nil {
			return nil, err
		}
		out := &bytes.Buffer{}
		tag, err := c.PgConn().CopyTo(ctx, out, "copy c to stdout")
		_, failed := c.PgConn().CopyFrom(ctx, strings.NewReader("x\ty\n"), "copy c from stdin")
		return []any{count, tag.String(), fmt.Sprintf("%x", sha256.Sum256(out.Bytes())), code(failed), codeOf(c, "select count(*) from c")}, err
	},
	"cursor": func(c *pgx.Conn) (any, error) {
		if err := exec(c, "begin", "declare walk cursor for select g from generate_series(1, 250) g"); err != nil {
			return nil, err
		}
		return []any{codeOf(c, "fetch 3 from walk"), codeOf(c, "move 200 from walk"), codeOf(c, "fetch 2 from walk")}, exec(c, "close walk", "commit")
	},
	"cancel": func(c *pgx.Conn) (any, error) {
		started := time.Now()
		time.AfterFunc(400*time.Millisecond, func() { _ = c.PgConn().CancelRequest(ctx) })
		found := codeOf(c, "select pg_sleep(20)")
		return []any{found, time.Since(started) < 10*time.Second, codeOf(c, "select 5")}, nil
	},
	"notify": func(c *pgx.Conn) (any, error) {
		if err := exec(c, "listen conformance_channel"); err != nil {
			return nil, err
		}
		other, err := open(nil)
		if err != nil {
			return nil, err
		}
		err = errors.Join(exec(other, "notify conformance_channel, 'hello'"), other.Close(ctx))
		within, stop := context.WithTimeout(ctx, 10*time.Second)
		defer stop()
		got, waited := c.WaitForNotification(within)
		if err = errors.Join(err, waited); err != nil {
			return nil, err
		}
		return []string{got.Channel, got.Payload}, nil
	},
	"large_result": func(c *pgx.Conn) (any, error) {
		found, err := c.Query(ctx, "select g, 'row ' || g, md5(g::text) from generate_series(1, 200000) g")
		if err != nil {
			return nil, err
		}
		sum, count := sha256.New(), 0
		for found.Next() {
			for _, raw := range found.RawValues() {
				sum.Write(raw)
			}
			count++
		}
		return []any{count, fmt.Sprintf("%x", sum.Sum(nil))}, found.Err()
	},
	"large_parameter": func(c *pgx.Conn) (any, error) {
		return codeOf(c, "select length($1::text), md5($1::text), octet_length($2::bytea)", strings.Repeat("äx", 400_000), make([]byte, 1<<20)), nil
	},
	"empty": func(c *pgx.Conn) (any, error) {
		return []any{codeOf(c, ""), codeOf(c, "-- only a comment"), codeOf(c, "select 6")}, nil
	},
	"multi": func(c *pgx.Conn) (any, error) {
		found := []any{}
		results, err := c.PgConn().Exec(ctx, "select 1; select 'two'; create temp table m (i int)").ReadAll()
		for _, r := range results {
			found = append(found, []any{r.CommandTag.String(), fmt.Sprintf("%s", r.Rows)})
		}
		return found, err
	},
	"notices": func(*pgx.Conn) (any, error) {
		seen := []any{}
		c, err := open(func(config *pgx.ConnConfig) {
			config.OnNotice = func(_ *pgconn.PgConn, n *pgconn.Notice) { seen = append(seen, []string{n.Severity, n.Code, n.Message}) }
		})
		if err != nil {
			return nil, err
		}
		err = exec(c, "drop table if exists no_such_table", "do $$ begin raise warning 'careful %', 1; end $$")
		return seen, errors.Join(err, c.Close(ctx))
	},
	"parameter_status": func(c *pgx.Conn) (any, error) {
		found := [][]string{}
		for _, name := range strings.Fields("server_version server_encoding client_encoding DateStyle IntervalStyle TimeZone integer_datetimes standard_conforming_strings is_superuser in_hot_standby search_path") {
			found = append(found, []string{name, c.PgConn().ParameterStatus(name)})
		}
		return found, nil
	},
	"pool": func(*pgx.Conn) (any, error) {
		config, err := pgxpool.ParseConfig(dsn())
		if err != nil {
			return nil, err
		}
		config.MaxConns = 10
		pool, err := pgxpool.NewWithConfig(ctx, config)
		if err != nil {
			return nil, err
		}
		defer pool.Close()
		found, held := []any{}, []*pgxpool.Conn{}
		for i := range 10 {
			c, err := pool.Acquire(ctx)
			if err != nil {
				return found, err
			}
			held = append(held, c)
			found = append(found, codeOf(c, "select $1::int4", int32(i)))
		}
		for _, c := range held {
			c.Release()
		}
		return found, nil
	},
	"unicode": func(c *pgx.Conn) (any, error) {
		return []any{codeOf(c, "select $1::text, length($1)", unicode), codeOf(c, "select '"+unicode+"' as \"spålte\"", pgx.QueryExecModeSimpleProtocol)}, nil
	},
	"denied": func(c *pgx.Conn) (any, error) {
		return []any{codeOf(c, "delete from orders"), codeOf(c, "select upper(national_id) from customers limit 1"), codeOf(c, "drop table orders"), codeOf(c, "select count(*) > 0 from orders")}, nil
	},
	"masked": func(c *pgx.Conn) (any, error) {
		found := []any{}
		for _, mode := range []pgx.QueryExecMode{pgx.QueryExecModeCacheStatement, pgx.QueryExecModeExec, pgx.QueryExecModeSimpleProtocol} {
			lines, err := c.Query(ctx, "select id, email, national_id as n, card_number from customers where id <= $1 order by id", mode, int32(3))
			if err != nil {
				return nil, err
			}
			all := [][]any{}
			for lines.Next() {
				values, err := lines.Values()
				if err != nil {
					return nil, err
				}
				all = append(all, values)
			}
			if err := lines.Err(); err != nil {
				return nil, err
			}
			found = append(found, all)
		}
		return found, nil
	},
}

func try(name string) (any, error) {
	run, known := behaviours[name]
	if !known {
		return nil, errors.New("no such behaviour")
	}
	c, err := open(nil)
	if err != nil {
		return nil, err
	}
	defer c.Close(ctx)
	return run(c)
}

func main() {
	if err := json.Unmarshal([]byte(os.Getenv("CONFORMANCE")), &info); err != nil {
		panic(err)
	}
	out := json.NewEncoder(os.Stdout)
	for _, name := range info.Run {
		value, err := try(name)
		if err != nil {
			_ = out.Encode(map[string]any{"behaviour": name, "error": map[string]any{"code": code(err), "message": strings.SplitN(err.Error(), "\n", 2)[0]}})
			continue
		}
		_ = out.Encode(map[string]any{"behaviour": name, "value": value})
	}
}
