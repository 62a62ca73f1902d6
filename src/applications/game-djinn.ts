import { Type } from 'typebox'
import { command, defineContract, event } from '../contracts/contract.ts'

/** Game Djinn, as its public API document has it; docs/applications.md has its events and commands. */

const text = Type.String()
const number = Type.Number()
const list = Type.Array(Type.Unknown())
const optional = Type.Optional

const sync = { operation_id: text, library_id: optional(text) }
const ai = { conversation_id: optional(text), message_id: optional(text) }
const library = { library_id: optional(text) }
const conversation = ({ conversation_id: id }: { conversation_id?: unknown }) =>
  typeof id === 'string' ? id : undefined

export const gameDjinn = defineContract({
  app: 'game-djinn',
  about: 'Game library dashboards: sync progress, AI chat, notifications',
  claims: ['library_access'],
  endpoints: [{ transport: 'websocket', path: '/ws', features: ['sync_progress', 'ai_chat', 'notifications'] }],

  events: {
    sync_started: event(
      Type.Object({
        ...sync,
        library_name: optional(text),
        operation_type: optional(text),
        estimated_duration_minutes: optional(number),
        total_games_to_process: optional(number),
      }),
    ),
    sync_progress: event(
      Type.Object({
        ...sync,
        status: optional(text),
        progress_percentage: optional(number),
        games_processed: optional(number),
        games_total: optional(number),
        games_added: optional(number),
        games_updated: optional(number),
        current_game: optional(Type.Object({ title: optional(text), platform_game_id: optional(text) })),
        rate_per_minute: optional(number),
        estimated_completion: optional(text),
        errors_count: optional(number),
      }),
      { latest: (data) => data.operation_id },
    ),
    sync_completed: event(
      Type.Object({
        ...sync,
        status: optional(text),
        duration_minutes: optional(number),
        games_processed: optional(number),
        games_added: optional(number),
        games_updated: optional(number),
        games_removed: optional(number),
        errors_count: optional(number),
        summary: optional(Type.Object({ new_games: optional(list), updated_games: optional(list) })),
      }),
    ),
    sync_failed: event(
      Type.Object({
        ...sync,
        status: optional(text),
        error_code: optional(text),
        error_message: optional(text),
        games_processed: optional(number),
        games_total: optional(number),
        can_retry: optional(Type.Boolean()),
        retry_after_seconds: optional(number),
        recovery_suggestions: optional(list),
      }),
    ),
    sync_rate_limited: event(
      Type.Object({
        ...sync,
        status: optional(text),
        platform: optional(text),
        retry_after_seconds: optional(number),
        requests_remaining: optional(number),
        window_reset_at: optional(text),
        auto_resume: optional(Type.Boolean()),
      }),
    ),

    ai_chat_response_chunk: event(
      Type.Object({ ...ai, chunk: text, is_final: optional(Type.Boolean()), chunk_index: optional(number) }),
      { conversation },
    ),
    ai_chat_response_complete: event(
      Type.Object({
        ...ai,
        full_message: text,
        tools_used: optional(list),
        response_time_ms: optional(number),
        token_count: optional(number),
      }),
      { conversation },
    ),
    ai_thinking: event(
      Type.Object({ ...ai, status: optional(text), activity: optional(text), estimated_seconds: optional(number) }),
      { conversation },
    ),
    ai_tool_execution: event(
      Type.Object({
        ...ai,
        tool_name: text,
        tool_parameters: optional(Type.Record(Type.String(), Type.Unknown())),
        status: optional(text),
      }),
      { conversation },
    ),
    ai_error: event(
      Type.Object({
        ...ai,
        error_code: text,
        error_message: optional(text),
        is_recoverable: optional(Type.Boolean()),
        suggested_action: optional(text),
      }),
      { conversation },
    ),

    game_added: event(
      Type.Object({
        ...library,
        game: Type.Object({
          game_id: optional(text),
          title: optional(text),
          developer: optional(text),
          cover_image_url: optional(text),
        }),
        source: optional(text),
        operation_id: optional(text),
      }),
    ),
    game_updated: event(
      Type.Object({
        ...library,
        game_id: text,
        changes: optional(Type.Record(Type.String(), Type.Unknown())),
        source: optional(text),
      }),
    ),
    achievement_unlocked: event(
      Type.Object({
        ...library,
        game_id: optional(text),
        game_title: optional(text),
        achievement: Type.Object({
          achievement_id: optional(text),
          title: optional(text),
          description: optional(text),
          icon_url: optional(text),
          rarity_percentage: optional(number),
          points: optional(number),
        }),
        unlocked_at: optional(text),
      }),
    ),

    system_notification: event(
      Type.Object({
        level: text,
        title: optional(text),
        message: text,
        action: optional(Type.Object({ type: optional(text), label: optional(text), url: optional(text) })),
        dismissible: optional(Type.Boolean()),
        expires_at: optional(text),
      }),
    ),
    system_status_update: event(
      Type.Object({
        component: text,
        status: text,
        message: optional(text),
        impact: optional(text),
        estimated_resolution: optional(text),
      }),
      { latest: (data) => data.component },
    ),
    maintenance_mode: event(
      Type.Object({
        status: text,
        message: optional(text),
        duration_minutes: optional(number),
        scheduled_start: optional(text),
        scheduled_end: optional(text),
        affected_services: optional(list),
      }),
    ),
  },

  groups: {
    sync_progress: ['sync_*'],
    ai_chat: ['ai_*'],
    notifications: ['system_notification', 'system_status_update', 'maintenance_mode'],
  },

  filters: {
    library_id: { about: 'One library, or any of a list', read: (data) => data.library_id },
    game_genres: { about: 'Any of these genres', read: (data) => data.game?.genres ?? data.genres },
    notification_level: { about: 'Any of these levels', read: (data) => data.level },
  },

  access: [{ claim: 'library_access', absent: 'all', read: (data) => data.library_id }],

  commands: {
    ai_chat_message: command(
      Type.Object({
        message: Type.String({ minLength: 1 }),
        context: optional(
          Type.Object({
            library_id: optional(text),
            conversation_id: optional(Type.String({ minLength: 1, maxLength: 256 })),
          }),
        ),
      }),
      {
        use: 'forward',
        participates: (data) => data.context?.conversation_id,
        failed: (failure, { data, id }) => ({
          type: 'ai_error',
          data: {
            ...(data.context?.conversation_id === undefined
              ? undefined
              : { conversation_id: data.context.conversation_id }),
            ...(id === undefined ? undefined : { message_id: id }),
            error_code: failure.code,
            error_message: failure.message,
            is_recoverable: true,
            suggested_action: 'Please try your request again',
          },
        }),
      },
    ),
  },

  limits: { commandsPerMinute: 600, warnAt: 20 },
})
