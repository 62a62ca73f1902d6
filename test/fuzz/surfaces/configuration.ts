import fc from 'fast-check'
import { hostOf, loadConfig, workersOf } from '../../../src/config/load.ts'
import { type Config, OPTIONS, type Option } from '../../../src/config/options.ts'
import type { Random } from '../random.ts'
import type { PureSurface } from '../surface.ts'
import { oddNumber, oddText } from '../values.ts'
import { choices, orRefused } from './codecs.ts'

const TABLE = Object.entries(OPTIONS) as [keyof Config, Option][]

export const configuration: PureSurface = {
  name: 'configuration',
  about: 'values of all options',
  properties: {
    'a configuration is refused with its faults, or each value is of its type and within its bounds': fc.property(
      choices.map(anyEnvironment),
      (env) => {
        const config = orRefused('CONFIG_INVALID', () => loadConfig(env))
        return config === undefined || fits(config)
      },
    ),
    'whatever one option says': fc.property(
      fc.constantFrom(...TABLE),
      fc.oneof(fc.string({ unit: 'binary' }), fc.integer().map(String), fc.double().map(String), choices.map(oddText)),
      ([, { env }], value) => {
        const config = orRefused('CONFIG_INVALID', () =>
          loadConfig({
            JWT_SECRET: 'a-secret-of-tests-that-is-long-enough',
            NATS_URL: 'nats://127.0.0.1',
            [env]: value,
          }),
        )
        return config === undefined || fits(config)
      },
    ),
  },
}

function anyEnvironment(random: Random): Record<string, string> {
  const entries = random.some(12, (): [string, string] => {
    const [, { env, min = 0, max = 10, default: usual }] = random.pick(TABLE)
    return [
      random.chance(0.95) ? env : random.pick(['__proto__', env.toLowerCase(), '']),
      random.pick([
        String(usual),
        String(min),
        String(max),
        String(min - 1),
        String(max + 1),
        ' 8000 ',
        '0x10',
        '1e3',
        '1_000',
        '٣',
        'auto',
        'Infinity',
        String(oddNumber(random)),
        oddText(random),
        'a,b,,c',
        ',',
      ]),
    ]
  })
  return Object.fromEntries([
    ...(random.chance(0.5) ? [['JWT_SECRET', 'a-secret-of-tests-that-is-long-enough']] : []),
    ...entries,
  ])
}

function fits(config: Config): boolean {
  const workers = workersOf(config)
  return (
    typeof hostOf(config) === 'string' &&
    Number.isInteger(workers) &&
    workers > 0 &&
    TABLE.every(([name, { type, min = 0, max = Number.MAX_SAFE_INTEGER }]) => {
      const value = config[name]
      if (type === 'integer') return Number.isInteger(value) && (value as number) >= min && (value as number) <= max
      return type === 'list'
        ? Array.isArray(value) && value.every((one) => typeof one === 'string' && one !== '')
        : typeof value === 'string'
    })
  )
}
