//! L4: the edge: HTTP, WebSocket, pages; maps the wire to session commands and back.
