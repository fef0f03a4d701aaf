import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import postgres from 'postgres'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type Shop, shopGatewayUser, startShop } from '../../src/dev/shop/start.ts'
import { Secret } from '../../src/secret.ts'

let folder: string
let shop: Shop
let owner: postgres.Sql
let gateway: postgres.Sql
const open = (url: Secret) => postgres(url.reveal(), { max: 1, onnotice: () => {} })
const as = (name: string, password: Secret) => shop.server.url('shop', { name, password })

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'sallyport-shop-'))
  shop = await startShop({ dataDir: join(folder, 'shop'), port: 0, customers: 2_000, durable: false })
  owner = open(shop.server.url('shop'))
  gateway = open(as(shopGatewayUser, shop.gatewayPassword))
})
afterAll(async () => {
  await owner?.end()
  await gateway?.end()
  await shop?.server.stop()
  rmSync(folder, { recursive: true, force: true })
})

function luhn(digits: string): boolean {
  const sum = [...digits]
    .reverse()
    .reduce((all, d, i) => all + (i % 2 === 0 ? Number(d) : Number(d) * 2 - (Number(d) > 4 ? 9 : 0)), 0)
  return sum % 10 === 0
}

describe('the demo shop', () => {
  test('its people are believable, distinct and nobody real', async () => {
    const people = await owner<
      { id: number; name: string; email: string; national_id: string; card_number: string; city: string }[]
    >`select * from customers order by id`
    expect(people).toHaveLength(2_000)
    for (const person of people) {
      expect(luhn(person.card_number), person.card_number).toBe(true)
      expect(person.card_number).toMatch(/^400000\d{10}$/)
      expect(person.national_id).toMatch(/^9\d\d-\d\d-\d{4}$/)
      expect(person.email).toMatch(/^[a-z]+\.[a-z]+\d+@example\.(com|net|org)$/)
      expect(person.name).toMatch(/^\w+ \w+$/)
    }
    expect(new Set(people.map(p => p.name)).size).toBeGreaterThan(1_000)
    expect(new Set(people.map(p => p.city)).size).toBeGreaterThan(20)
    // The same in every clone.
    expect(people[0]).toMatchObject({ id: 1, name: people[0]!.name, national_id: expect.any(String) })
  })

  test('orders have items of products, and staff have salaries', async () => {
    const [row] =
      await owner`select (select count(*) from orders)::int as orders, (select count(*) from order_items)::int as items,
      (select count(*) from products)::int as products, (select min(salary) from hr.employees)::int as salary`
    expect(row).toMatchObject({ orders: 2_400, items: 3_600, products: 192 })
    expect(row!['salary']).toBeGreaterThan(30_000)
  })

  test('the gateway makes a role in one of the three groups, ends its connections and drops it', async () => {
    await gateway`create role session_1 login password 'secret-1' in role shop_reader`
    const session = open(as('session_1', new Secret('secret-1')))
    expect(await session`select count(*)::int as n from customers`).toEqual([{ n: 2_000 }])
    await expect(session`delete from orders where id = 1`).rejects.toMatchObject({ code: '42501' })
    await expect(session`select salary from hr.employees`).rejects.toMatchObject({ code: '42501' })
    await expect(session`create temp table t (id int)`).rejects.toMatchObject({ code: '42501' })
    await gateway`select pg_terminate_backend(pid) from pg_stat_activity where usename = 'session_1'`
    await gateway`drop role session_1`
    await session.end({ timeout: 1 })
    expect(await owner`select 1 from pg_roles where rolname = 'session_1'`).toEqual([])
  })

  test('the gateway reads no table itself, is no superuser and hands out nothing else', async () => {
    await expect(gateway`select * from public.customers`).rejects.toMatchObject({ code: '42501' })
    await expect(gateway`set role shop_admin`).rejects.toMatchObject({ code: '42501' })
    await expect(gateway`create role thief superuser`).rejects.toMatchObject({ code: '42501' })
    await expect(gateway`create role thief in role pg_read_all_data`).rejects.toMatchObject({ code: '42501' })
  })

  test('a second start fills nothing twice', async () => {
    const [before] = await owner`select max(id) as id from orders`
    await owner`insert into orders (customer_id, status, placed_at) values (1, 'placed', now())`
    await owner.end()
    await gateway.end()
    await shop.server.stop()
    shop = await startShop({ dataDir: join(folder, 'shop'), port: 0, customers: 2_000, durable: false })
    owner = open(shop.server.url('shop'))
    gateway = open(as(shopGatewayUser, shop.gatewayPassword))
    expect(await owner`select max(id) as id from orders`).toEqual([{ id: before!['id'] + 1 }])
  })
})
