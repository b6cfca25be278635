//! One Antiphon serves engines to another: a process with `--role engines` and the engines that the server comes
//! with, and a server in front of it whose ears, model and voice are all behind its URL.

#[path = "../socket/mod.rs"]
#[expect(dead_code, reason = "a part of it is used here")]
mod socket;

mod faults;
mod pair;
mod talks;
