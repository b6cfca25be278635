//! Is a session well? A gauge that each session shares, and the background look at all of them.
//!
//! [`SessionGauge`] is written by the session and its socket and read by `/api` and by [`SessionHealth`], which
//! ends sessions whose task is stuck, that stay over their memory, or whose socket shows no life.

mod gauge;
mod report;
mod watch;

pub use gauge::{Percentiles, SessionGauge};
pub use report::{QueuedView, SessionReport};
pub use watch::{Illness, SessionHealth, Signs, judge};
