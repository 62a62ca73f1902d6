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

/** @param given what uWS gives: null where there is none */
export function queryOf(given: string | null): Query {
  const text = given ?? ''
  const query = new URLSearchParams(text)
  return {
    text,
    transport: query.get('transport'),
    version: query.get('EIO'),
    sid: query.get('sid'),
    token: query.get('token'),
  }
}
