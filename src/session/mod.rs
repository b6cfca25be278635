//! L3: one person's conversation: audio in, turns, history, audio out.
