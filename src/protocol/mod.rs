//! L0: the wire: client events, server events, items, session configuration, error codes of the OpenAI Realtime protocol.
