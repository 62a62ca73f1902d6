/** What a message's headers say about its body. */
export interface BodyHeaders {
  /** The media type, in lower case and without parameters; empty: none. */
  readonly type: string
  /** `Content-Encoding`, in lower case; empty: none. */
  readonly encoding: string
  /** The attributes of a CloudEvent in binary mode: headers that begin with `ce-`, without it. */
  readonly cloudEvent: ReadonlyMap<string, string> | undefined
}

const MSGPACK_TYPES: ReadonlySet<string> = new Set([
  'application/msgpack',
  'application/x-msgpack',
  'application/vnd.msgpack',
])
const ATTRIBUTES_MAX = 64

/** Whether a `Content-Type` names msgpack. */
export function isMsgpack(contentType: string): boolean {
  return contentType !== '' && MSGPACK_TYPES.has(mediaType(contentType))
}

/**
 * Reads the headers of a message; names count in any case.
 * @returns undefined if none says anything about the body
 */
export function bodyHeadersOf(headers: Iterable<readonly [string, readonly string[]]>): BodyHeaders | undefined {
  let type = ''
  let encoding = ''
  let cloudEvent: Map<string, string> | undefined
  for (const [name, [value = '']] of headers) {
    const known = name.toLowerCase()
    if (known === 'content-type') type = mediaType(value)
    else if (known === 'content-encoding') encoding = value.trim().toLowerCase()
    else if (known.startsWith('ce-') && (cloudEvent?.size ?? 0) < ATTRIBUTES_MAX)
      (cloudEvent ??= new Map()).set(known.slice(3), decoded(value))
  }
  return type === '' && encoding === '' && cloudEvent === undefined ? undefined : { type, encoding, cloudEvent }
}

function mediaType(value: string): string {
  const end = value.indexOf(';')
  return (end === -1 ? value : value.slice(0, end)).trim().toLowerCase()
}

/** CloudEvents writes values percent-encoded; what is not well encoded is taken as it stands. */
function decoded(value: string): string {
  if (!value.includes('%')) return value
  try {
    return decodeURIComponent(value)
  } catch {
    return value
  }
}
