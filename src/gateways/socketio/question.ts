import type { HttpRequest } from 'uWebSockets.js'

/** What an Engine.IO request asks for, in its query. */
export interface Question {
  /** The query as it was sent. */
  readonly text: string
  readonly transport: string | undefined
  readonly version: string | undefined
  readonly sid: string | undefined
  /** Of clients that give none with CONNECT. */
  readonly token: string | undefined
}

/** Reads it by uWS, which decodes each value where it lies: the whole must be taken before. */
export function questionOf(req: HttpRequest): Question {
  // uWS gives null where there is no query.
  const text = req.getQuery() ?? ''
  return { text, transport: req.getQuery('transport'), version: req.getQuery('EIO'), sid: req.getQuery('sid'), token: req.getQuery('token') }
}
