import { loadModule, parseSync, SqlError } from 'libpg-query'
import { complexity } from './literals.ts'
import { isTree, list, type Tree, tree } from './tree.ts'

const maxLength = 1 << 20
const maxStatements = 1000
const maxComplexity = 4000
/** INVARIANT: one text holds up the other sessions of a worker for well under a second. */
const maxTokens = 100_000

export interface Parsed {
  readonly node: Tree
  readonly text: string
}

export type ParseAnswer =
  | { readonly ok: true; readonly statements: readonly Parsed[] }
  | { readonly ok: false; readonly sqlstate: string; readonly message: string }

/** Loads the parser, once for the process. */
export async function loadParser(): Promise<void> {
  await loadModule()
}

/** PostgreSQL's own grammar, within bounds. Never throws on what a client sends. */
export function parse(sql: string): ParseAnswer {
  if (sql.length > maxLength)
    return refuse(
      '54000',
      `the text is longer than ${maxLength} characters: send it in parts, or use COPY or parameters`,
    )
  if (sql.includes('\0')) return refuse('42601', 'the text holds a NUL character')
  if (/^\s*$/.test(sql)) return { ok: true, statements: [] }
  if (sql.length > 2 * maxComplexity) {
    const { depth, tokens } = complexity(sql)
    if (depth > maxComplexity)
      return refuse('54001', 'the statement is too complex (too many operators): send it in parts, or use parameters')
    if (tokens > maxTokens)
      return refuse('54000', `more than ${maxTokens} words and signs: send them in parts, or use COPY or parameters`)
  }
  let answer: unknown
  try {
    answer = parseSync(sql)
  } catch (fault) {
    if (fault instanceof SqlError) return refuse('42601', fault.message)
    return refuse('54001', 'the statement is too complex for the parser: split it into simpler ones')
  }
  if (!isTree(answer)) return refuse('42601', 'the parser gave no answer')
  const nodes = list(answer, 'stmts')
  if (nodes.length > maxStatements)
    return refuse('54000', `more than ${maxStatements} statements in one message: send them one by one`)
  const bytes =
    nodes.length > 1 || nodes.some(n => n.stmt_location !== undefined) ? Buffer.from(sql, 'utf8') : undefined
  return {
    ok: true,
    statements: nodes.map(node => ({
      node: tree(node, 'stmt') ?? {},
      text: bytes === undefined ? sql : slice(bytes, node),
    })),
  }
}

function slice(bytes: Buffer, node: Tree): string {
  const from = typeof node.stmt_location === 'number' ? node.stmt_location : 0
  const length = typeof node.stmt_len === 'number' && node.stmt_len > 0 ? node.stmt_len : bytes.length - from
  return bytes.toString('utf8', from, from + length).trim()
}

const refuse = (sqlstate: string, message: string): ParseAnswer => ({ ok: false, sqlstate, message })
