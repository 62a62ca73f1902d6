import { isoTime } from '../time.ts'
import type { AnyEvent } from '../contracts/contract.ts'
import type { QueryAction, StoredEvent } from '../contracts/action.ts'
import type { Command } from '../contracts/command.ts'
import type { Sender } from '../contracts/command.ts'

/** Gemini Sessions seen afterwards: its history, and what its monitors see, of the stored events. */

/** `source` of events that the broker stores for a command: monitors have seen the command. */
export const OF_COMMAND = 'command'

/** Characters that one answer holds, roughly, and activities: what is older is left out. */
const ANSWER_CHARACTERS_MAX = 4_000_000
const ACTIVITIES_MAX = 10_000
const ACTIVITIES_DEFAULT = 100
/** Positions in a piece of activities: whole events are kept of them, so they are small. */
const ACTIVITY_SPAN = 2_048
const ENTRY_BYTES = 100

/** The document's `monitoring:event`. */
export interface Activity {
  /** The first word of the command or event: `chat`, `tool`, `gemini`, `session`, `system`. */
  readonly type: string
  readonly userId: string | null
  readonly sessionId: string | null
  /** The whole of it, and its name as `event`; a chat's text as `userMessage`. */
  readonly data: Readonly<Record<string, unknown>>
  readonly timestamp: string
}

interface Said {
  readonly role: 'user' | 'assistant'
  readonly content: string
  readonly timestamp: string
}

/** What a piece of the log says of one session: since it was cleared, if it was. */
interface Talk {
  cleared: boolean
  said: Said[]
}

interface Counts {
  total: number
  readonly byType: Map<string, number>
  readonly toolUsage: Map<string, number>
}

export const sessionRoom = (session: string) => `session:${session}`

/** The sessions that an event goes to. */
export function sessionsOf({ data, rooms }: AnyEvent): string[] {
  if (rooms) return rooms.filter((room) => room.startsWith('session:')).map((room) => room.slice('session:'.length))
  return typeof data.sessionId === 'string' ? [data.sessionId] : []
}

/** `chat:get-history`: what was said since the conversation was cleared. */
export function historyOf(sessionOf: (sender: Sender) => string | undefined): QueryAction<unknown, Map<string, Talk>> {
  return {
    use: 'query',
    events: ['chat:message', 'gemini:done', 'chat:cleared'],
    summary: {
      make: () => new Map(),
      add: (talks, event, bytes) => {
        for (const session of sessionsOf(event)) {
          if (event.type === 'chat:cleared') talks.set(session, { cleared: true, said: [] })
          else {
            const talk = talks.get(session) ?? { cleared: false, said: [] }
            talks.set(session, talk)
            const said = saidIn(event)
            if (said) talk.said.push(said)
          }
        }
        return bytes + ENTRY_BYTES
      },
    },
    query: (_, sender) => {
      const session = sessionOf(sender) ?? ''
      const found = newest<Said>(Number.MAX_SAFE_INTEGER, ({ content }) => content.length + ENTRY_BYTES)
      return {
        look: (talks) => {
          const talk = talks.get(session)
          return talk === undefined || (found.take(talk.said) && !talk.cleared)
        },
        reply: (complete) => ({
          type: 'chat:history',
          data: { history: found.oldestFirst(), timestamp: isoTime(), ...truncated(complete && !found.cut) },
        }),
      }
    },
  }
}

/** `monitoring:get-events`: the newest activities, oldest first. */
export function eventsOf(): QueryAction<
  { userId?: unknown; sessionId?: unknown; limit?: unknown },
  { activity: Activity; bytes: number }[]
> {
  return {
    use: 'query',
    summary: {
      make: () => [],
      span: ACTIVITY_SPAN,
      add: (piece, event, bytes) => {
        const activity = activityOf(event)
        if (activity) piece.push({ activity, bytes })
        // Decoded it is about twice as large.
        return activity ? 2 * bytes + ENTRY_BYTES : 0
      },
    },
    query: ({ data: { userId, sessionId, limit } }) => {
      const found = newest<{ activity: Activity; bytes: number }>(
        Math.min(typeof limit === 'number' ? limit : ACTIVITIES_DEFAULT, ACTIVITIES_MAX),
        ({ bytes }) => bytes,
      )
      return {
        look: (piece) =>
          found.take(
            piece.filter(
              ({ activity }) =>
                (userId == null || activity.userId === userId) &&
                (sessionId == null || activity.sessionId === sessionId),
            ),
          ),
        reply: (complete) => ({
          type: 'monitoring:events',
          data: { events: found.oldestFirst().map(({ activity }) => activity), ...truncated(complete && !found.cut) },
        }),
      }
    },
  }
}

/** `monitoring:get-stats`: how many activities, by type and by user, and how often tools were executed. */
export function statisticsOf(): QueryAction<{ userId?: unknown }, Map<string | null, Counts>> {
  return {
    use: 'query',
    summary: {
      make: () => new Map(),
      add: (users, event) => {
        const activity = activityOf(event)
        if (!activity) return 0
        let counts = users.get(activity.userId)
        let grown = 0
        if (!counts) {
          users.set(activity.userId, (counts = { total: 0, byType: new Map(), toolUsage: new Map() }))
          grown += (activity.userId?.length ?? 0) + ENTRY_BYTES
        }
        counts.total++
        grown += count(counts.byType, activity.type, 1)
        const tool = toolOf(activity)
        if (tool !== undefined) grown += count(counts.toolUsage, tool, 1)
        return grown
      },
    },
    query: ({ data: { userId } }) => {
      let [totalEvents, characters, cut] = [0, 0, false]
      const [byType, byUser, toolUsage] = [
        new Map<string, number>(),
        new Map<string, number>(),
        new Map<string, number>(),
      ]
      /** Users choose names of tools: those that an answer has no room for are left out. */
      const tell = (counts: Map<string, number>, key: string, n: number) => {
        if (counts.has(key) || characters + key.length + ENTRY_BYTES <= ANSWER_CHARACTERS_MAX)
          characters += count(counts, key, n)
        else cut = true
      }
      return {
        look: (users) => {
          for (const [user, counts] of users) {
            if (userId != null && user !== userId) continue
            totalEvents += counts.total
            if (user !== null) tell(byUser, user, counts.total)
            for (const [type, n] of counts.byType) tell(byType, type, n)
            for (const [tool, n] of counts.toolUsage) tell(toolUsage, tool, n)
          }
          return true
        },
        reply: (complete) => ({
          type: 'monitoring:stats',
          data: {
            totalEvents,
            byType: Object.fromEntries(byType),
            byUser: Object.fromEntries(byUser),
            toolUsage: Object.fromEntries(toolUsage),
            ...truncated(complete && !cut),
          },
        }),
      }
    },
  }
}

/** What monitors see of a stored event. @returns undefined where they have seen the command that it came of */
export function activityOf(envelope: AnyEvent): Activity | undefined {
  const { type, data, user_id, timestamp, source } = envelope
  if (type === 'monitoring:event')
    return typeof data.type === 'string'
      ? {
          ...data,
          userId: textOr(data.userId),
          sessionId: textOr(data.sessionId),
          data: objectIn(data.data),
          timestamp: textOr(data.timestamp) ?? timestamp,
        }
      : undefined
  if (source === OF_COMMAND) return undefined
  return {
    type: firstWord(type),
    userId: textOr(data.userId ?? user_id ?? data.approvedBy ?? data.rejectedBy ?? data.from),
    sessionId: sessionsOf(envelope)[0] ?? null,
    data: { ...data, event: type },
    timestamp,
  }
}

/** What is kept of a command for monitors. Their own commands are not kept. */
export function auditEventOf(
  { type, data }: Command,
  { userId }: Sender,
  session: string | undefined,
): StoredEvent | undefined {
  if (type.startsWith('monitoring:')) return undefined
  const { content, ...rest } = objectIn(data)
  const activity: Activity = {
    type: type === 'join-session' ? 'session' : firstWord(type),
    userId,
    sessionId: (type === 'join-session' ? textOr(rest.sessionId) : session) ?? null,
    data: {
      ...rest,
      event: type,
      ...(content === undefined ? undefined : { [type === 'chat:message' ? 'userMessage' : 'content']: content }),
    },
    timestamp: isoTime(),
  }
  return { type: 'monitoring:event', data: activity }
}

function saidIn({ type, data, timestamp }: AnyEvent): Said | undefined {
  const content = type === 'chat:message' ? data.content : data.fullResponse
  return typeof content === 'string'
    ? { role: type === 'chat:message' ? 'user' : 'assistant', content, timestamp: textOr(data.timestamp) ?? timestamp }
    : undefined
}

/**
 * The tool that somebody asks for: a user by `tool:execute`, the model by `gemini:tool-request`. What comes of it is
 * the same use.
 */
/** The tool that was executed; one that was only asked for may never have been. */
function toolOf({ data }: Activity): string | undefined {
  return data.event === 'tool:execution-start' && typeof data.name === 'string' ? data.name : undefined
}

/** Gathers what comes in pieces, the newest first, as much as an answer may hold. */
function newest<T>(limit: number, sizeOf: (item: T) => number) {
  const found: T[] = []
  let characters = 0
  return {
    /** It had to leave something out that was asked for. */
    cut: false,
    /** @param items oldest first. @returns false where there is no room for more */
    take(items: readonly T[]): boolean {
      for (let i = items.length - 1; i >= 0 && found.length < limit; i--) {
        characters += sizeOf(items[i] as T)
        if (characters > ANSWER_CHARACTERS_MAX && found.length > 0) this.cut = true
        if (this.cut) return false
        found.push(items[i] as T)
      }
      return found.length < limit
    },
    oldestFirst: () => found.toReversed(),
  }
}

const truncated = (complete: boolean) => (complete ? undefined : { truncated: true })

/** @returns roughly how much the counts grew by, in characters */
function count(counts: Map<string, number>, key: string, n: number): number {
  const before = counts.get(key)
  counts.set(key, (before ?? 0) + n)
  return before === undefined ? key.length + ENTRY_BYTES : 0
}

const firstWord = (type: string) => type.split(/[:.-]/)[0] as string
const textOr = (value: unknown): string | null => (typeof value === 'string' ? value : null)
const objectIn = (value: unknown) =>
  typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Record<string, unknown>) : {}
