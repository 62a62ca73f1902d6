/** What an Engine.IO request asks for. */
export interface Query {
  /** As it was sent. */
  readonly text: string
  readonly transport: string | null
  readonly version: string | null
  readonly sid: string | null
  /** Of clients that give none with CONNECT. */
  readonly token: string | null
}

/** Most handshakes have the same query as the one before: 1 % of a handshake. */
let last: Query | undefined

/** @param given what uWS gives: null where there is none */
export function queryOf(given: string | null): Query {
  const text = given ?? ''
  if (last?.text === text) return last
  const query = new URLSearchParams(text)
  last = {
    text,
    transport: query.get('transport'),
    version: query.get('EIO'),
    sid: query.get('sid'),
    token: query.get('token'),
  }
  return last
}
