/** The people of the development world. They have no passwords: this identity provider is for loopback only. */
export interface DevPerson {
  readonly sub: string
  readonly name: string
  readonly email: string
  readonly title: string
  readonly groups: readonly string[]
}

export const devPeople: readonly DevPerson[] = [
  { sub: 'erin', name: 'Erin Engineer', email: 'erin@example.test', title: 'Engineer', groups: ['engineers'] },
  {
    sub: 'eli',
    name: 'Eli Engineer',
    email: 'eli@example.test',
    title: 'Engineer, on call, releases',
    groups: ['engineers', 'on-call', 'release-managers'],
  },
  {
    sub: 'dana',
    name: 'Dana Dba',
    email: 'dana@example.test',
    title: 'DBA, approves, releases',
    groups: ['dbas', 'engineers', 'release-managers'],
  },
  { sub: 'ava', name: 'Ava Auditor', email: 'ava@example.test', title: 'Auditor', groups: ['auditors'] },
  {
    sub: 'sam',
    name: 'Sam Security',
    email: 'sam@example.test',
    title: 'Security, releases',
    groups: ['security-admins', 'release-managers'],
  },
]

/** Who is there now. Groups can change and people can leave while the provider runs, and both outlive a restart. */
export class People {
  readonly #people: Map<string, DevPerson>
  readonly #changed: () => void

  constructor(saved: readonly DevPerson[] | undefined, changed: () => void) {
    this.#people = new Map((saved ?? devPeople).map(person => [person.sub, person]))
    this.#changed = changed
  }

  all(): readonly DevPerson[] {
    return [...this.#people.values()]
  }

  find(sub: string): DevPerson | undefined {
    return this.#people.get(sub)
  }

  /** @returns false for nobody we know. */
  setGroups(sub: string, groups: readonly string[]): boolean {
    const person = this.#people.get(sub)
    if (person === undefined) return false
    this.#people.set(sub, { ...person, groups: [...groups] })
    this.#changed()
    return true
  }

  remove(sub: string): boolean {
    const there = this.#people.delete(sub)
    if (there) this.#changed()
    return there
  }
}
