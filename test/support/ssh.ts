import { join } from 'node:path'
import { Command, type Outcome, runCommand } from './commands.ts'
import type { Person } from './person.ts'

/** OpenSSH's clients of one person, with the settings that `sallyport ssh-config` wrote for them and nothing else. */
export class SshClients {
  readonly #person: Person
  /** What they pass on to ssh: `-F FILE`. */
  readonly config: string

  private constructor(person: Person) {
    this.#person = person
    this.config = join(person.home, 'ssh_config')
  }

  static async of(person: Person): Promise<SshClients> {
    const clients = new SshClients(person)
    const { code, stderr } = await person.cli('ssh-config', '--install', clients.config)
    if (code !== 0) throw new Error(stderr)
    return clients
  }

  get #env(): NodeJS.ProcessEnv {
    return { ...this.#person.env, SHELL: '/bin/sh' }
  }

  /** Runs one of them to its end. */
  run(program: string, ...args: string[]): Promise<Outcome> {
    return this.fed('', program, ...args)
  }

  fed(input: string, program: string, ...args: string[]): Promise<Outcome> {
    return runCommand(this.#argv(program, args), { env: this.#env, cwd: this.#person.home, input })
  }

  start(program: string, ...args: string[]): Command {
    return new Command(this.#argv(program, args), { env: this.#env, cwd: this.#person.home })
  }

  #argv(program: string, args: readonly string[]): string[] {
    if (program === 'rsync') return ['rsync', '-e', `ssh -F ${this.config}`, ...args]
    if (program === 'ansible-playbook') return [program, '--ssh-common-args', `-F ${this.config}`, ...args]
    return [program, '-F', this.config, ...args]
  }
}
