import type { DevPerson } from './people.ts'

const style = `body{font:16px/1.5 system-ui,sans-serif;max-width:26rem;margin:12vh auto;padding:0 1rem;color:#1a2130;background:#f6f7f9}
@media(prefers-color-scheme:dark){body{color:#e8ebf0;background:#14181f}button{background:#1f2530!important;color:inherit!important}}
h1{font-size:1.25rem}p{opacity:.75}button{display:block;width:100%;text-align:left;font:inherit;padding:.7rem 1rem;margin:.5rem 0;
border:1px solid #8893a7;border-radius:.5rem;background:#fff;cursor:pointer}small{display:block;opacity:.7}`

/** The sign-in page: one button a person. */
export function signInPage(uid: string, people: readonly DevPerson[]): string {
  const button = (person: DevPerson) =>
    `<button name="sub" value="${shown(person.sub)}">${shown(person.name)}<small>${shown(person.title)} · ${shown(person.groups.join(', ') || 'no groups')}</small></button>`
  return page(
    'Sign in',
    `<p>Development identity provider: choose who you are. There are no passwords here.</p>
<form method="post" action="/interaction/${shown(uid)}/sign-in">${people.map(button).join('')}</form>`,
  )
}

export function page(title: string, body: string): string {
  return `<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1"><title>${shown(title)}</title><style>${style}</style></head><body><h1>${shown(title)}</h1>${body}</body></html>`
}

export function shown(text: string): string {
  return text.replace(/[&<>"']/g, c => `&#${c.charCodeAt(0)};`)
}
