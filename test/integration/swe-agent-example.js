// specs/swe-agent.md, "JavaScript/Node.js", as written there.
import io from "socket.io-client";

// Connect with authentication
const socket = io("http://localhost:8000/ws", {
  auth: {
    token: localStorage.getItem("jwt_token")
  },
  reconnection: true,
  reconnectionDelay: 1000,
  reconnectionDelayMax: 5000,
  reconnectionAttempts: 5
});

// Handle connection established
socket.on("connection_established", (event) => {
  console.log("Connected:", event.data.connection_id);
});

// Listen for project updates
socket.on("project.updated", (event) => {
  console.log("Project updated:", event.data);
  // Update UI
});

// Listen for workflow progress
socket.on("workflow.progress", (event) => {
  console.log("Progress:", event.data.progress + "%");
  // Update progress bar
});

// Subscribe to project room
socket.emit("subscribe", {
  room: "project:550e8400-e29b-41d4-a716-446655440000"
}, (response) => {
  if (response.status === "success") {
    console.log("Subscribed to project");
  }
});

// Handle errors
socket.on("connect_error", (error) => {
  console.error("Connection error:", error);
});

socket.on("disconnect", (reason) => {
  console.log("Disconnected:", reason);
});
