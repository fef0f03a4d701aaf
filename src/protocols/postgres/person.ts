import type { ListeningSide } from '../../gateway/client.ts'
import { client } from './client.ts'

export const person: ListeningSide = {
  name: 'postgres',
  listener: { kind: 'tcp', defaultPort: 6432 },
  client,
}
