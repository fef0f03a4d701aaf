import type { BundleFacts } from './format.ts'

/** `README.txt` of a bundle. */
export function readme(facts: BundleFacts): string {
  return `Evidence of ${facts.deployment}, exported ${new Date(facts.at_ms).toISOString()} by ${facts.by.id}.

report.html            what happened, for people; open it in any browser
bundle.json            what was asked for, and what was withheld from whoever exported it
log/                   events of the audit log, each with its path to the root that log/checkpoint.txt signs
                       (RFC 6962 Merkle tree, C2SP signed note); checkpoints that were kept outside
requests-*, sessions-* requests with their votes and grants, sessions with their connections
decisions/             every decision with its input, result and path to the root of its batch
revisions/             the policies that decided: signed facts, and sources as gzipped tar
recordings/SESSION/    facts, seal, receipt; sealed segments; where it was allowed, keys and events
manifest.json          SHA-256 of every file before it
manifest.proof.json    the audit log holds an event "evidence.exported" that names the SHA-256 of manifest.json

Check all of it with no network:   node verify.mjs THIS.tar --key KEY       (Node.js 20 or later)
or, where Sallyport is installed:  sallyport verify THIS.tar --key KEY
With the command \`opa\` too:        sallyport verify THIS.tar --key KEY --recompute

KEY is the audit log's public key, as the deployment publishes it. Have it, and best the verifier too, from somewhere
else than from this bundle: whoever could forge a bundle could forge the key and the script in it.
`
}
