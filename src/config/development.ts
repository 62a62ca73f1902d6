import { randomBytes } from 'node:crypto'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { hasKey } from './load.ts'
import type { Config } from './options.ts'

/** Keys that a broker without configured ones makes for itself, so that the first run needs no set-up. */
interface DevelopmentKeys {
  jwtSecret: string
  publishKey: string
}

/**
 * Fills in development keys where no key is configured. They are kept in `.roomcast/development.json` below
 * the working folder (mode 0600), so that `roomcast token` and a restarted broker agree on them.
 */
export function withDevelopmentKeys(config: Config): { config: Config; development: boolean } {
  if (hasKey(config)) return { config, development: false }
  const keys = readOrMake(join(process.cwd(), '.roomcast'))
  return {
    config: { ...config, jwtSecret: keys.jwtSecret, publishKey: config.publishKey || keys.publishKey, host: config.host || '127.0.0.1' },
    development: true,
  }
}

function readOrMake(folder: string): DevelopmentKeys {
  const file = join(folder, 'development.json')
  try {
    const kept = JSON.parse(readFileSync(file, 'utf8')) as DevelopmentKeys
    if (kept.jwtSecret && kept.publishKey) return kept
  } catch {
    // Not there yet, or not ours: made anew below.
  }
  const keys = { jwtSecret: randomBytes(32).toString('base64url'), publishKey: randomBytes(18).toString('base64url') }
  try {
    mkdirSync(folder, { recursive: true })
    writeFileSync(file, JSON.stringify(keys), { mode: 0o600 })
  } catch {
    // A read-only folder: the keys live as long as this process.
  }
  return keys
}
