/** What an Engine.IO request asks for, in its query. */
export interface Question {
  /** The query as it was sent. */
  readonly text: string
  readonly transport: string | null
  readonly version: string | null
  readonly sid: string | null
  /** Of clients that give none with CONNECT. */
  readonly token: string | null
}

/** Most that open a WebSocket ask the same as the one before. */
let last: Question = { text: '', transport: null, version: null, sid: null, token: null }

/** @param text the query; uWS gives null where there is none */
export function questionOf(text: string | null): Question {
  if (text === last.text || text === null) return text === null ? questionOf('') : last
  const query = new URLSearchParams(text)
  last = { text, transport: query.get('transport'), version: query.get('EIO'), sid: query.get('sid'), token: query.get('token') }
  return last
}
