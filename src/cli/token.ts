import { type Command, InvalidArgumentError } from 'commander'
import { createSigner } from 'fast-jwt'
import { BUILT_IN_CONTRACTS } from '../applications/built-in.ts'
import { withDevelopmentKeys } from '../config/development.ts'
import { loadConfig } from '../config/load.ts'
import { listClaimsOf } from '../contracts/claims.ts'
import { BrokerError } from '../errors.ts'

/** Claims that have a flag of their own: the common ones, and those of the five applications. */
const LIST_CLAIMS = listClaimsOf(BUILT_IN_CONTRACTS)

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
  command.option('--claim <name=list>', 'another claim, comma separated; may be given several times', claim, {})
  command.action((user: string, { claim: others, ...flags }: Flags) => {
    const { config } = withDevelopmentKeys(loadConfig(process.env))
    if (config.jwtSecret === '')
      throw new BrokerError(
        'CONFIG_INVALID',
        'Only JWT_SECRET can mint tokens; with JWT_PUBLIC_KEY or JWKS_URL they come from whoever has the private key',
      )
    const claims: Record<string, unknown> = { ...others }
    if (flags.name !== undefined) claims.name = flags.name
    for (const claim of LIST_CLAIMS) {
      const list = flags[claim.replace(/_([a-z])/g, (_, letter: string) => letter.toUpperCase())]
      if (typeof list === 'string') claims[claim] = itemsOf(list)
    }
    console.log(mintToken(config.jwtSecret, user, flags.ttl as number, claims))
  })
}

interface Flags extends Readonly<Record<string, unknown>> {
  readonly claim: Claimed
}

type Claimed = Readonly<Record<string, readonly string[]>>

/** Adds a `name=a,b` to those before it. */
function claim(pair: string, before: Claimed): Claimed {
  const [, name, list = ''] = /^([^=]+)=(.*)$/s.exec(pair) ?? []
  if (name === undefined) throw new InvalidArgumentError('wants name=value, with commas between several values')
  return { ...before, [name]: itemsOf(list) }
}

function itemsOf(list: string): string[] {
  return list.split(',').map((item) => item.trim())
}

function wholeNumber(text: string): number {
  const number = Number(text)
  if (!Number.isInteger(number) || number < 1) throw new InvalidArgumentError('wants a whole number of seconds')
  return number
}
