// Game Djinn: libraries that synchronize, games, notifications, and an assistant that answers.
import { now, oneOf, pause, spoken } from './backend.mjs'

const LIBRARIES = [
  { library_id: 'steam', library_name: 'My Steam Library', games_total: 198, step: 6 },
  { library_id: 'gog', library_name: 'My GOG Library', games_total: 64, step: 3 },
]
const GAMES = ['The Witcher 3: Wild Hunt', 'Cyberpunk 2077', 'Hades', 'Disco Elysium', "Baldur's Gate 3"]

export function startGameDjinn({ publish, answer, every }) {
  for (const { library_id, library_name, games_total, step } of LIBRARIES) {
    let run = 0
    let games_processed = 0
    every(1_000, async (round) => {
      const about = { operation_id: `demo-${library_id}-${run}`, library_id }
      if (games_processed === 0)
        await publish('sync_started', {
          ...about,
          library_name,
          operation_type: 'incremental_sync',
          total_games_to_process: games_total,
        })
      games_processed = Math.min(games_processed + step, games_total)
      const title = oneOf(GAMES, round)
      await publish('sync_progress', {
        ...about,
        status: 'in_progress',
        progress_percentage: Math.round((100 * games_processed) / games_total),
        games_processed,
        games_total,
        current_game: { title, platform_game_id: String(round) },
        rate_per_minute: step * 60,
        errors_count: 0,
      })
      if (round % 10 === 9)
        await publish('game_added', {
          library_id,
          game: { game_id: `demo-${round}`, title },
          source: 'sync_operation',
          operation_id: about.operation_id,
        })
      if (games_processed < games_total) return
      await publish('sync_completed', {
        ...about,
        status: 'completed',
        games_processed,
        games_added: 1,
        games_updated: 3,
        errors_count: 0,
      })
      games_processed = 0
      run++
    })
  }
  every(7_000, async (round) => {
    await publish('system_notification', {
      level: oneOf(['info', 'warning', 'success'], round),
      title: 'Demo',
      message: `Notification ${round + 1} of the demo`,
      dismissible: true,
    })
    await publish('system_status_update', {
      component: 'steam_api',
      status: oneOf(['operational', 'degraded'], round),
      message: 'As the demo has it',
    })
  })
  every(12_000, async (round) => {
    await publish('achievement_unlocked', {
      library_id: 'steam',
      game_title: oneOf(GAMES, round),
      achievement: { achievement_id: `demo-${round}`, title: 'Seen a demo', points: 15 },
      unlocked_at: now(),
    })
  })

  const say = async (text, ids, rest) => {
    await publish('ai_thinking', { ...ids, status: 'thinking', activity: 'Looking at the demo libraries' }, rest)
    let chunk_index = 0
    for await (const { text: chunk } of spoken(text))
      await publish('ai_chat_response_chunk', { ...ids, chunk, chunk_index: chunk_index++, is_final: false }, rest)
    await publish(
      'ai_chat_response_complete',
      { ...ids, full_message: text, tools_used: [], token_count: chunk_index },
      rest,
    )
  }
  // Without a conversation it is for everybody who subscribed to ai_chat.
  every(6_000, (round) =>
    say(`Tip of the demo: ${oneOf(GAMES, round)} has waited in your library for a long time.`, {
      message_id: `demo-tip-${round}`,
    }),
  )
  answer(
    'ai_chat_message',
    () => undefined,
    async ({ data: { message, context }, id, user_id }) => {
      await pause(100)
      await say(
        `You asked "${message}". The demo would play ${GAMES[0]} tonight.`,
        {
          ...(context?.conversation_id ? { conversation_id: context.conversation_id } : undefined),
          ...(id === undefined ? undefined : { message_id: id }),
        },
        { user_id },
      )
    },
  )
}
