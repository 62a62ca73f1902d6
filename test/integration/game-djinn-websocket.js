// The client of specs/game-djinn.md, "JavaScript WebSocket Client", as written there.
class GameDjinnWebSocket {
  constructor(token) {
    this.token = token;
    this.ws = null;
    this.eventHandlers = new Map();
  }

  connect() {
    this.ws = new WebSocket(`ws://localhost:8000/ws?token=${this.token}`);
    
    this.ws.onopen = () => {
      console.log('Connected to Game Djinn');
      this.subscribe(['sync_progress', 'ai_chat', 'notifications']);
    };
    
    this.ws.onmessage = (event) => {
      const message = JSON.parse(event.data);
      this.handleEvent(message);
    };
    
    this.ws.onclose = () => {
      console.log('Disconnected from Game Djinn');
      // Implement reconnection logic
    };
  }

  subscribe(events, filters = {}) {
    this.send({
      type: 'subscribe',
      data: { events, filters }
    });
  }

  sendAIMessage(message, context = {}) {
    this.send({
      type: 'ai_chat_message',
      data: { message, context },
      id: `msg_${Date.now()}`
    });
  }

  send(data) {
    if (this.ws?.readyState === WebSocket.OPEN) {
      this.ws.send(JSON.stringify({
        ...data,
        timestamp: new Date().toISOString()
      }));
    }
  }

  on(eventType, handler) {
    if (!this.eventHandlers.has(eventType)) {
      this.eventHandlers.set(eventType, []);
    }
    this.eventHandlers.get(eventType).push(handler);
  }

  handleEvent(message) {
    const handlers = this.eventHandlers.get(message.type) || [];
    handlers.forEach(handler => handler(message.data));
  }
}
