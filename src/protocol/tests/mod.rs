//! Tests of the wire. Snapshots of every server event lie in `../snapshots`.

mod client_events;
mod server_events;
mod sessions;
