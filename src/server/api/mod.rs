//! The operator's interface: JSON under `/api`.
//!
//! Nothing here decides what a setting means. Read [`config`] for what may change at run time.

pub mod config;
