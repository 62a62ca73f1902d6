import { createHmac } from 'node:crypto'
import { SECRET } from '../support/broker.ts'
import type { Random } from './random.ts'
import { anyId, oddText, oddValue } from './values.ts'

const USERS = 500
const HEADER = base64url('{"alg":"HS256","typ":"JWT"}')

/** Signs whatever it is given: the identity provider is trusted, but may be odd. */
export function signed(payload: string, header: string = HEADER): string {
  const signing = `${header}.${base64url(payload)}`
  return `${signing}.${createHmac('sha256', SECRET).update(signing).digest('base64url')}`
}

function base64url(text: string): string {
  return Buffer.from(text).toString('base64url')
}

/** Somebody's valid token. Many users: some applications ban those who hurry. */
export function validToken(random: Random, more: Record<string, unknown> = {}): string {
  return signed(JSON.stringify(validClaims(random, more)))
}

function validClaims(random: Random, more: Record<string, unknown>): Record<string, unknown> {
  return {
    sub: `user-${random.int(USERS)}`,
    exp: 4_000_000_000,
    name: 'Somebody',
    roles: random.chance(0.2) ? ['admin'] : [],
    permissions: random.pick([['monitoring'], ['monitoring', 'admin'], []]),
    project_access: random.pick([['*'], ['*'], ['p1']]),
    session_access: ['*'],
    agent_access: ['*'],
    library_access: ['*'],
    ...more,
  }
}

/** A token: mostly a valid one, sometimes an odd one that is signed well, sometimes none. */
export function anyToken(random: Random): string {
  if (random.chance(0.75)) return validToken(random)
  return random.one(
    () =>
      validToken(random, {
        sub: random.pick<unknown>([
          oddText(random),
          'x'.repeat(random.pick([200, 2_000, 10_000])),
          5,
          null,
          {},
          'user.a *>',
          'user-1\u0000',
        ]),
      }),
    () =>
      validToken(random, {
        exp: random.pick([
          1e308,
          -1,
          1.5,
          9_999_999_999_999,
          Number.MAX_SAFE_INTEGER,
          '4000000000',
          null,
          Date.now() / 1000 + 1.5,
          8.64e12,
        ]),
      }),
    () =>
      validToken(random, {
        [random.pick([
          'project_access',
          'session_access',
          'roles',
          'permissions',
          'agent_access',
          'library_access',
          'name',
          'nbf',
          'iat',
          'iss',
          'aud',
          '__proto__',
        ])]: oddValue(random),
      }),
    () =>
      validToken(random, {
        project_access: random.some(200, () => (random.chance(0.5) ? anyId(random) : oddText(random))),
      }),
    () =>
      signed(JSON.stringify(validClaims(random, {})).replace('{', '{"sub":"twice","__proto__":{"roles":["admin"]},')),
    () => signed(random.pick(['null', '[]', '"text"', '{}', 'no json', ''])),
    () =>
      signed(
        JSON.stringify(validClaims(random, {})),
        base64url(
          random.pick([
            '{"alg":"none"}',
            '{"alg":"HS512"}',
            '{"alg":["HS256"]}',
            '{}',
            'null',
            '{"alg":"HS256","kid":"__proto__"}',
            '{"alg":"HS256","crit":["x"]}',
          ]),
        ),
      ),
    () => oddText(random),
    () => `${validToken(random)}x`,
  )
}
