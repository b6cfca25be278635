//! Snapshots of a session: what is kept of it so that another socket, or another run of the server, goes on where
//! it was.
//!
//! `SnapshotWriter` hands the store what changed, part by part; `Restored` is what is read back; [`ResumeToken`]
//! is what a client needs for it. The format is in `parts`. Nothing here knows sockets, or where a store keeps
//! things. Of a token, the store is given the SHA-256 alone.

mod parts;
mod restored;
mod token;
mod view;
mod writer;

pub(in crate::session) use parts::Head;
pub(in crate::session) use restored::Restored;
pub use restored::Unreadable;
pub use token::ResumeToken;
pub use view::{InterruptedAnswer, ResumeView, ResumedView};
pub(in crate::session) use writer::{Fence, SnapshotWriter};

#[cfg(test)]
mod tests;
