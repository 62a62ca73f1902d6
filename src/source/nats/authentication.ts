import { type Authenticator, type ConnectionOptions, jwtAuthenticator, nkeyAuthenticator } from 'nats'
import { type LoginFiles, newest, readCreds, readSeed } from './login-files.ts'

/** How a broker logs in: by the first of these that there is. */
export interface Login extends LoginFiles {
  readonly url: string
  readonly token?: string
}

export type Way = 'creds' | 'nkey' | 'token' | 'user' | 'certificate' | 'none'

export function wayOf({ url, creds, nkeySeedFile, token, certFile }: Login): Way {
  if (creds) return 'creds'
  if (nkeySeedFile) return 'nkey'
  if (token) return 'token'
  if (Object.keys(credentialsIn(url)).length > 0) return 'user'
  return certFile ? 'certificate' : 'none'
}

/** @throws BrokerError CONFIG_INVALID if a file is not what it should be */
export function authentication(login: Login): Partial<ConnectionOptions> {
  const { url, creds, nkeySeedFile, token } = login
  switch (wayOf(login)) {
    case 'creds':
      return { authenticator: byCreds(creds as string), ...credentialsIn(url) }
    case 'nkey':
      return { authenticator: bySeed(nkeySeedFile as string), ...credentialsIn(url) }
    case 'token':
      return { token: token as string }
    default:
      return credentialsIn(url)
  }
}

function byCreds(path: string): Authenticator {
  const read = newest(() => readCreds(path))
  const bytes = new TextEncoder()
  return (nonce) => {
    const { jwt, seed } = read()
    return jwtAuthenticator(jwt, bytes.encode(seed))(nonce)
  }
}

function bySeed(path: string): Authenticator {
  const read = newest(() => readSeed(path))
  return (nonce) => nkeyAuthenticator(new TextEncoder().encode(read()))(nonce)
}

/**
 * User and password, or token, from `nats://user:password@host`. The last @ ends them, whatever characters they hold.
 */
export function credentialsIn(url: string): Partial<ConnectionOptions> {
  for (const server of url.split(',')) {
    const match = /^(?:[a-z]+:\/\/)?([^:]*)(?::(.*))?@[^@]*$/.exec(server.trim())
    if (match) {
      const [, user, pass] = match.map((part) => (part === undefined ? undefined : decoded(part)))
      return pass === undefined ? { token: user } : { user, pass }
    }
  }
  return {}
}

function decoded(part: string): string {
  try {
    return decodeURIComponent(part)
  } catch {
    return part
  }
}
