// `node --import ./test/support/typescript.js FILE.ts` runs a TypeScript file of this repository from its source.
import { register } from 'node:module'

register('./typescript-hooks.js', import.meta.url)
