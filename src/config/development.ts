import { randomBytes } from 'node:crypto'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { hasKey } from './load.ts'
import { BrokerError } from '../errors.ts'
import type { Config } from './options.ts'

const LOOPBACK = ['', '127.0.0.1', 'localhost', '::1'] as const

/** Keys that a broker makes for itself if none are configured, so that the first run needs no set-up. */
interface DevelopmentKeys {
  jwtSecret: string
  publishKey: string
}

/**
 * Adds development keys if no key is configured. They are kept in `.roomcast/development.json` in the working folder
 * (mode 0600), so that `roomcast token` and a restarted broker agree on them.
 */
export function withDevelopmentKeys(config: Config): { config: Config; development: boolean } {
  if (hasKey(config)) return { config, development: false }
  if (!(LOOPBACK as readonly string[]).includes(config.host)) {
    throw new BrokerError(
      'CONFIG_INVALID',
      `HOST=${config.host}: without a key the broker listens on 127.0.0.1 alone, since it hands out tokens; set JWT_SECRET, JWT_PUBLIC_KEY or JWKS_URL`,
    )
  }
  if (!(LOOPBACK as readonly string[]).includes(config.opsHost)) {
    throw new BrokerError(
      'CONFIG_INVALID',
      `OPS_HOST=${config.opsHost}: without a key OPS_PORT is on 127.0.0.1 alone, since its page has a token; set JWT_SECRET, JWT_PUBLIC_KEY or JWKS_URL`,
    )
  }
  const keys = readOrMake(join(process.cwd(), '.roomcast'))
  return {
    config: {
      ...config,
      jwtSecret: keys.jwtSecret,
      publishKey: config.publishKey || keys.publishKey,
      host: config.host || LOOPBACK[1],
    },
    development: true,
  }
}

function readOrMake(folder: string): DevelopmentKeys {
  const file = join(folder, 'development.json')
  try {
    const kept = JSON.parse(readFileSync(file, 'utf8')) as DevelopmentKeys
    if (kept.jwtSecret && kept.publishKey) return kept
  } catch {
    // Missing or unreadable: new keys are made below.
  }
  const keys = { jwtSecret: randomBytes(32).toString('base64url'), publishKey: randomBytes(18).toString('base64url') }
  try {
    mkdirSync(folder, { recursive: true })
    writeFileSync(file, JSON.stringify(keys), { mode: 0o600 })
  } catch {
    // The folder is read-only: the keys last as long as this process.
  }
  return keys
}
