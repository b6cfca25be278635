//! Engines behind a URL against real HTTP servers on loopback.

mod server;

mod llm;
