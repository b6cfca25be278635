//! Sessions on scripted engines, without a server around them.

#[path = "../support/mod.rs"]
mod support;

mod endings;
mod faults;
mod heard;
mod idle;
mod interruption;
mod lifecycle;
mod listen;
mod pools;
mod quotas;
mod responses;
mod talk;
mod tools;
mod translation;
