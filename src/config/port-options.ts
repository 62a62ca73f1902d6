import { BrokerError } from '../errors.ts'
import { OPTIONS, type Option } from './options.ts'

/** A port that contracts name. */
export interface NamedPort {
  readonly option: string
  readonly default: number
  readonly apps: readonly string[]
}

/** @throws BrokerError CONTRACT_INVALID if the name is that of another option */
export function portOption({ option: env, default: fallback, apps }: NamedPort): Option {
  if (Object.values(OPTIONS).some((other) => other.env === env))
    throw new BrokerError('CONTRACT_INVALID', `Contract ${apps[0]}: \`port.option\` is ${env}, which is another option`)
  return {
    env,
    group: OPTIONS.port.group,
    type: 'integer',
    default: fallback,
    min: OPTIONS.port.min,
    max: OPTIONS.port.max,
    unit: OPTIONS.port.unit,
    about: `${apps.join(', ')}. 0: a free one.`,
  }
}

/** The table of options, with the ports that contracts name behind PORT. */
export function optionsWith(ports: readonly Option[]): readonly Option[] {
  return Object.values<Option>(OPTIONS).flatMap((option) => (option === OPTIONS.port ? [option, ...ports] : [option]))
}
