import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

const KEPT = 400

/** The inputs sent last: what is at hand when the broker falls. */
export class Inputs {
  private readonly kept: unknown[] = []

  add(input: unknown): void {
    this.kept.push(input)
    if (this.kept.length > KEPT * 2) this.kept.splice(0, KEPT)
  }

  get last(): readonly unknown[] {
    return this.kept.slice(-KEPT)
  }
}

/** @returns the file's path */
export function writeInputs(name: string, surface: string, inputs: readonly unknown[]): string {
  const folder = join(tmpdir(), 'roomcast-fuzz')
  mkdirSync(folder, { recursive: true })
  const path = join(folder, `${name}.json`)
  writeFileSync(
    path,
    `${JSON.stringify({ surface, inputs }, (_, value) => (isBytesJson(value) ? { $base64: Buffer.from(value.data).toString('base64') } : value))}\n`,
  )
  return path
}

export function readInputs(path: string): { surface: string; inputs: unknown[] } {
  return JSON.parse(readFileSync(path, 'utf8'), (_, value) =>
    typeof value?.$base64 === 'string' ? Buffer.from(value.$base64, 'base64') : value,
  )
}

/** How JSON sees a `Buffer`. */
function isBytesJson(value: unknown): value is { readonly data: number[] } {
  const { type, data } = (value ?? {}) as { type?: unknown; data?: unknown }
  return type === 'Buffer' && Array.isArray(data)
}
