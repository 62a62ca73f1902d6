/** A kind of value that contract functions must return. */
export interface Result {
  /** In words, for the author of the contract. */
  readonly wanted: string
  readonly fits: (value: unknown) => boolean
  /**
   * Converts a value that does not fit; undefined stands for none.
   * @returns `WRONG` if it cannot be converted
   */
  readonly take?: (value: unknown) => unknown
}

export const WRONG = Symbol('wrong')

export const anything: Result = { wanted: 'a value', fits: (value) => !(value instanceof Promise) }
/** Whether something is allowed; undefined and null mean no. */
export const permission: Result = {
  wanted: 'true or false',
  fits: (value) => typeof value === 'boolean',
  take: (value) => (value === undefined || value === null ? false : WRONG),
}
export const text: Result = { wanted: 'a text', fits: (value) => typeof value === 'string' }
export const textOrNothing: Result = {
  wanted: 'a text or undefined',
  fits: (value) => value === undefined || typeof value === 'string',
  take: (value) => (value === null ? undefined : WRONG),
}
export const texts: Result = { wanted: 'a list of texts', fits: areTexts }
export const textOrTexts: Result = {
  wanted: 'a text or a list of texts',
  fits: (value) => typeof value === 'string' || areTexts(value),
}
/** Ids come from producers' data, so a number is taken as its text. */
export const id: Result = {
  wanted: 'a text or undefined',
  fits: (value) => value === undefined || typeof value === 'string',
  take: (value) => (value === null ? undefined : typeof value === 'number' ? String(value) : WRONG),
}
/** Like `id`, but any other value means no key, so that the event is not treated as a version of another. */
export const key: Result = {
  ...id,
  take: (value) => (typeof value === 'number' ? String(value) : value instanceof Promise ? WRONG : undefined),
}
export const values: Result = { wanted: 'a list', fits: Array.isArray }
export const lockMode: Result = {
  wanted: '"exclusive", "shared" or undefined',
  fits: (value) => value === undefined || value === 'exclusive' || value === 'shared',
}
export const bytes: Result = {
  wanted: 'a number',
  fits: (value) => typeof value === 'number' && Number.isFinite(value),
}
export const object: Result = { wanted: 'an object', fits: isObject }
export const message: Result = { wanted: 'a message {type, data}', fits: isMessage }
export const messageOrNothing: Result = {
  wanted: 'a message {type, data} or undefined',
  fits: (value) => value === undefined || isMessage(value),
  take: orNothing,
}
export const messagesOrNothing: Result = {
  wanted: 'a message {type, data}, a list of them, or undefined',
  fits: (value) => value === undefined || isMessage(value) || (Array.isArray(value) && value.every(isMessage)),
  take: orNothing,
}
/** Such messages are short, so the check can afford to serialise them. */
export const plainMessage: Result = {
  wanted: 'a message {type, data} that JSON can hold',
  fits: (value) => isMessage(value) && isJson(value),
}
export const plainMessageOrNothing: Result = {
  wanted: 'a message {type, data} that JSON can hold, or undefined',
  fits: (value) => value === undefined || plainMessage.fits(value),
  take: orNothing,
}
export const json: Result = {
  wanted: 'a value that JSON can hold',
  fits: (value) => !(value instanceof Promise) && isJson(value),
}
export const jsonObject: Result = {
  wanted: 'an object that JSON can hold',
  fits: (value) => isObject(value) && isJson(value),
}
export const storedEvent: Result = {
  wanted: 'an event {type, data, rooms?, source?} whose data is an object',
  fits: (value) => isMessage(value) && isStorable(value as unknown as Record<string, unknown>),
}
export const storedEventOrNothing: Result = {
  wanted: `${storedEvent.wanted}, or undefined`,
  fits: (value) => value === undefined || storedEvent.fits(value),
  take: orNothing,
}
export const answer: Result = {
  wanted: '{acknowledgement?: […], message?: {type, data}} that JSON can hold, or undefined',
  fits: (value) =>
    value === undefined ||
    (isObject(value) &&
      isOneOr(value.acknowledgement, Array.isArray) &&
      isOneOr(value.message, isMessage) &&
      isJson(value)),
  take: orNothing,
}
export const commands: Result = {
  wanted: 'a list of commands {type, data}',
  fits: (value) => Array.isArray(value) && value.every((one) => isObject(one) && typeof one.type === 'string'),
}
export const commandOrNothing: Result = {
  wanted: 'a command {type, data, failed?} or undefined',
  fits: (value) =>
    value === undefined || (isObject(value) && typeof value.type === 'string' && isOneOr(value.failed, isFunction)),
  take: orNothing,
}
export const logQuery: Result = {
  wanted: '{look, reply}',
  fits: (value) => isObject(value) && isFunction(value.look) && isFunction(value.reply),
}
export const credential: Result = { wanted: '{credential, userId?}', fits: isObject }

function orNothing(value: unknown): unknown {
  return value === null ? undefined : WRONG
}

function areTexts(value: unknown): boolean {
  if (!Array.isArray(value)) return false
  for (let i = 0; i < value.length; i++) if (typeof value[i] !== 'string') return false
  return true
}

function isMessage(value: unknown): boolean {
  return (
    isObject(value) &&
    typeof value.type === 'string' &&
    !(value.data instanceof Promise) &&
    isOneOr(value.args, Array.isArray)
  )
}

function isStorable({ data, rooms, source }: Record<string, unknown>): boolean {
  return isObject(data) && isOneOr(rooms, areTexts) && isOneOr(source, (value) => typeof value === 'string')
}

function isOneOr(value: unknown, fits: (value: unknown) => boolean): boolean {
  return value === undefined || fits(value)
}

function isFunction(value: unknown): boolean {
  return typeof value === 'function'
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value) && !(value instanceof Promise)
}

/** JSON cannot hold cycles or BigInts. */
function isJson(value: unknown): boolean {
  try {
    JSON.stringify(value)
    return true
  } catch {
    return false
  }
}
