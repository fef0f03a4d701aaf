import type { Control } from './contract.ts'
import type { Facts } from './facts.ts'
import type { Columns } from './scope.ts'
import type { Tree } from './tree.ts'

/** What is found about a statement while its tree is read, beside its Facts. */
export interface Draft {
  kind: string
  control: Control
  refusal: string | null
  facts: Record<string, unknown>
  columns: Columns
  changesCatalog: boolean
  secret: boolean
}

export type Binder = (facts: Facts, draft: Draft, node: Tree) => void
