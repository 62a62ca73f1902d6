import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import vm from 'node:vm'
import { transformSync } from 'esbuild'
import type { io as connect, Socket } from 'socket.io-client'

/** A block of code in a document, under the heading, or the name in bold, that is next above it. */
export interface Example {
  readonly title: string
  readonly language: 'javascript' | 'typescript'
  readonly code: string
}

/** The JavaScript and TypeScript of a document, in its order. */
export function examplesIn(markdown: string): Example[] {
  let title = ''
  return [...markdown.matchAll(/^(?:#+ (.*)|(\*\*\w+\*\*.*)|```(\w*)\n([\s\S]*?)^```)$/gm)].flatMap(
    ([, heading, name, language, code = '']) => {
      title = heading ?? name?.replaceAll('*', '') ?? title
      return language === 'javascript' || language === 'typescript' ? [{ title, language, code }] : []
    },
  )
}

/** The copy of a document's examples, in `test/documents/`. */
export function copiedExamples(document: string): Example[] {
  return examplesIn(readFileSync(new URL(`../documents/${document}`, import.meta.url), 'utf8'))
}

/** Names that an example finds in its own surroundings. */
type Names = Readonly<Record<string, unknown>>

/**
 * A page that runs examples as they are written: its scripts share their globals, and the real `socket.io-client` finds
 * our broker at the address that the documents give theirs.
 */
export class Page {
  readonly sockets: Socket[] = []
  /** What was said on the console: the method, and its arguments. */
  readonly said: unknown[][] = []
  private readonly context: vm.Context
  private readonly modules: Names

  /** @param port where the broker is */
  constructor(port: number, globals: Names = {}, modules: Names = {}) {
    const io = freshClient()
    const here = (url: string, options?: object) => {
      const socket = io(url.replace(/localhost:\d+/, `127.0.0.1:${port}`), options)
      this.sockets.push(socket)
      return socket
    }
    const say =
      (method: string) =>
      (...words: unknown[]) =>
        void this.said.push([method, ...words])
    const console = { log: say('log'), warn: say('warn'), error: say('error') }
    this.modules = { 'socket.io-client': { __esModule: true, default: here, io: here }, ...modules }
    this.context = vm.createContext({ console, io: here, Promise, ...globals })
  }

  /**
   * Runs an example. What it declares and exports stays for those that follow, unless it has names of its own: then it
   * stands in a function.
   */
  run({ code, language }: Example, own: Names = {}): void {
    const { code: script } = transformSync(code, { loader: language === 'typescript' ? 'ts' : 'js', format: 'cjs' })
    this.context.module = { exports: {} }
    this.context.require = (name: string) => this.modules[name]
    if (Object.keys(own).length === 0) vm.runInContext(script, this.context)
    else vm.compileFunction(script, Object.keys(own), { parsingContext: this.context })(...Object.values(own))
  }

  /** Something that an example declared. */
  // biome-ignore lint/suspicious/noExplicitAny: the documents' code has types that are not ours.
  declared(name: string): any {
    return vm.runInContext(name, this.context)
  }

  close(): void {
    for (const socket of this.sockets) socket.disconnect()
  }
}

/** Each page loads the client anew: pages share no connection. */
function freshClient(): typeof connect {
  const require = createRequire(import.meta.url)
  delete require.cache[require.resolve('socket.io-client')]
  return require('socket.io-client').io
}
