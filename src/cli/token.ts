import { type Command, InvalidArgumentError } from 'commander'
import { createSigner } from 'fast-jwt'
import { withDevelopmentKeys } from '../config/development.ts'
import { loadConfig } from '../config/load.ts'
import { BrokerError } from '../errors.ts'

const LIST_CLAIMS = [
  'roles',
  'permissions',
  'project_access',
  'library_access',
  'agent_access',
  'session_access',
] as const

const DEVELOPMENT_TOKEN_TTL_S = 7 * 86_400

/** Mints an HS256 token with JWT_SECRET, or with this folder's development key. */
export function mintToken(secret: string, userId: string, ttlS: number, claims: Record<string, unknown> = {}): string {
  const nowS = Math.floor(Date.now() / 1000)
  return createSigner({ key: secret, algorithm: 'HS256' })({ sub: userId, iat: nowS, exp: nowS + ttlS, ...claims })
}

/** Mints a token for trying out the broker with development keys. */
export function developmentToken(secret: string): string {
  return mintToken(secret, 'dev', DEVELOPMENT_TOKEN_TTL_S, { name: 'Developer', roles: ['admin'] })
}

export function addToken(program: Command): void {
  const command = program
    .command('token')
    .description('mint a token for development, signed with JWT_SECRET or with the development key of this folder')
    .argument('[user]', "the user's id", 'dev')
    .option('--ttl <seconds>', 'how long it is valid', wholeNumber, 86_400)
    .option('--name <name>', "the user's name")
  for (const claim of LIST_CLAIMS)
    command.option(`--${claim.replaceAll('_', '-')} <list>`, `claim ${claim}, comma separated`)
  command.action((user: string, flags: Record<string, string | number | undefined>) => {
    const { config } = withDevelopmentKeys(loadConfig(process.env))
    if (config.jwtSecret === '')
      throw new BrokerError(
        'CONFIG_INVALID',
        'Only JWT_SECRET can mint tokens; with JWT_PUBLIC_KEY or JWKS_URL they come from whoever has the private key',
      )
    const claims: Record<string, unknown> = {}
    if (flags.name !== undefined) claims.name = flags.name
    for (const claim of LIST_CLAIMS) {
      const list = flags[claim.replace(/_([a-z])/g, (_, letter: string) => letter.toUpperCase())]
      if (typeof list === 'string') claims[claim] = list.split(',').map((item) => item.trim())
    }
    console.log(mintToken(config.jwtSecret, user, flags.ttl as number, claims))
  })
}

function wholeNumber(text: string): number {
  const number = Number(text)
  if (!Number.isInteger(number) || number < 1) throw new InvalidArgumentError('wants a whole number of seconds')
  return number
}
