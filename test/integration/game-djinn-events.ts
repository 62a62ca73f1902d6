/** The data of every server event, as in the examples of specs/game-djinn.md. */
const operation_id = '456e7890-e89b-12d3-a456-426614174001'
const library_id = '123e4567-e89b-12d3-a456-426614174000'
const ai = { conversation_id: 'conv_456789', message_id: 'msg_123456' }

export const EXAMPLES: Readonly<Record<string, Record<string, unknown>>> = {
  sync_started: { operation_id, library_id, library_name: 'My Steam Library', operation_type: 'incremental_sync', estimated_duration_minutes: 5, total_games_to_process: 198 },
  sync_progress: {
    operation_id, library_id, status: 'in_progress', progress_percentage: 45, games_processed: 89, games_total: 198, games_added: 3, games_updated: 12,
    current_game: { title: 'The Witcher 3: Wild Hunt', platform_game_id: '292030' }, rate_per_minute: 18, estimated_completion: '2024-07-20T12:03:00Z', errors_count: 0,
  },
  sync_completed: {
    operation_id, library_id, status: 'completed', duration_minutes: 4.5, games_processed: 198, games_added: 5, games_updated: 23, games_removed: 1, errors_count: 0,
    summary: { new_games: [{ title: "Baldur's Gate 3", game_id: 'new_game_123' }], updated_games: [{ title: 'Cyberpunk 2077', changes: ['playtime_updated', 'achievement_unlocked'] }] },
  },
  sync_failed: {
    operation_id, library_id, status: 'failed', error_code: 'PLATFORM_API_ERROR', error_message: 'Steam API returned 503 Service Unavailable', games_processed: 45, games_total: 198,
    can_retry: true, retry_after_seconds: 300, recovery_suggestions: ['Check Steam API status', 'Verify API credentials', 'Try again in 5 minutes'],
  },
  sync_rate_limited: { operation_id, library_id, status: 'rate_limited', platform: 'steam', retry_after_seconds: 120, requests_remaining: 0, window_reset_at: '2024-07-20T12:05:00Z', auto_resume: true },
  ai_chat_response_chunk: { ...ai, chunk: 'Based on your library, here are some great unplayed RPG games:', is_final: false, chunk_index: 0 },
  ai_chat_response_complete: { ...ai, full_message: 'Based on your library …', tools_used: ['search_games'], response_time_ms: 1250, token_count: 156 },
  ai_thinking: { ...ai, status: 'thinking', activity: 'Analyzing your gaming patterns...', estimated_seconds: 5 },
  ai_tool_execution: { ...ai, tool_name: 'search_games', tool_parameters: { query: 'RPG', status_filter: ['unplayed'], rating_filter: { min_metacritic: 80 } }, status: 'executing' },
  ai_error: { ...ai, error_code: 'TOOL_EXECUTION_FAILED', error_message: 'Unable to search games: Database connection timeout', is_recoverable: true, suggested_action: 'Please try your request again' },
  game_added: { library_id, game: { game_id: 'new_game_123', title: "Baldur's Gate 3", developer: 'Larian Studios', cover_image_url: 'https://example.com/bg3.jpg' }, source: 'sync_operation', operation_id },
  game_updated: {
    library_id, game_id: '789e0123-e89b-12d3-a456-426614174002', source: 'sync_operation',
    changes: { total_playtime_minutes: { old: 7620, new: 7680 }, last_played_at: { old: '2024-07-19T20:00:00Z', new: '2024-07-20T21:00:00Z' } },
  },
  achievement_unlocked: {
    library_id, game_id: '789e0123-e89b-12d3-a456-426614174002', game_title: 'The Witcher 3: Wild Hunt', unlocked_at: '2024-07-20T21:15:00Z',
    achievement: { achievement_id: 'ach_12345', title: 'Geralt: The Professional', description: 'Complete 10 Witcher contracts', icon_url: 'https://example.com/ach_icon.jpg', rarity_percentage: 23.4, points: 15 },
  },
  system_notification: {
    level: 'info', title: 'Platform API Update', message: 'Steam Web API is experiencing intermittent issues.', dismissible: true, expires_at: '2024-07-20T18:00:00Z',
    action: { type: 'url', label: 'View Status', url: 'https://steamstat.us/' },
  },
  system_status_update: { component: 'steam_api', status: 'degraded', message: 'Steam API response times elevated', impact: 'Sync operations may take longer', estimated_resolution: '2024-07-20T14:00:00Z' },
  maintenance_mode: {
    status: 'starting', message: 'System maintenance starting in 5 minutes', duration_minutes: 30, scheduled_start: '2024-07-20T13:00:00Z', scheduled_end: '2024-07-20T13:30:00Z', affected_services: ['sync', 'ai_chat'],
  },
}
