// A Permit is minted in the file of decide() and nowhere else; this is the name under which the other rooms import it.
export { Permit } from './engine.ts'
