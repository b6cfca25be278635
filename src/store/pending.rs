//! Changes that wait to be written: one for each session, later ones laid over earlier ones. Pure.

use std::collections::HashMap;

use super::NotTaken;
use super::change::Change;

/// Bytes of changes that may wait for the disk. 64 MiB: a minute's outage of the disk with hundreds of sessions.
pub const PENDING_BYTES_CAPACITY: usize = 64 * 1024 * 1024;

/// What is to be done for one session.
#[derive(Debug)]
pub(super) enum Todo {
    /// Write this.
    Write(Change),
    /// Forget it.
    Delete,
}

/// What waits, and what is being written: neither is safe yet.
#[derive(Debug, Default)]
pub(super) struct Pending {
    todo: HashMap<String, Todo>,
    bytes: usize,
    writing: Writing,
}

/// What was taken and is not known to be written.
#[derive(Debug, Default)]
struct Writing {
    sessions: Vec<String>,
    bytes: usize,
}

impl Pending {
    /// Takes in a change, if there is room. What makes room or adds nothing is always taken.
    pub(super) fn save(&mut self, session: &str, change: Change) -> Result<(), NotTaken> {
        let bytes = self.bytes + self.writing.bytes + change.bytes();
        if bytes > PENDING_BYTES_CAPACITY && !change.parts.is_empty() {
            return Err(NotTaken);
        }
        match self.todo.remove(session) {
            None => self.put(session, Todo::Write(change)),
            Some(Todo::Write(mut earlier)) => {
                self.bytes -= earlier.bytes();
                earlier.overlay(change);
                self.put(session, Todo::Write(earlier));
            }
            // It is forgotten, unless it begins anew.
            Some(Todo::Delete) if change.begin.is_some() => self.put(session, Todo::Write(change)),
            Some(Todo::Delete) => self.put(session, Todo::Delete),
        }
        Ok(())
    }

    /// Forgets a session.
    pub(super) fn delete(&mut self, session: &str) {
        if let Some(Todo::Write(earlier)) = self.todo.remove(session) {
            self.bytes -= earlier.bytes();
        }
        self.put(session, Todo::Delete);
    }

    /// All of it, to be written. It counts until `written` or `put_back` says how that went.
    pub(super) fn take(&mut self) -> HashMap<String, Todo> {
        let sessions = self.todo.keys().cloned().collect();
        self.writing = Writing { sessions, bytes: std::mem::take(&mut self.bytes) };
        std::mem::take(&mut self.todo)
    }

    /// What was taken is on the disk.
    pub(super) fn written(&mut self) {
        self.writing = Writing::default();
    }

    /// What was taken could not be written: it waits on, under what came meanwhile.
    pub(super) fn put_back(&mut self, failed: HashMap<String, Todo>) {
        self.writing = Writing::default();
        for (session, earlier) in failed {
            let todo = match (earlier, self.todo.remove(&session)) {
                (earlier, None) => earlier,
                (_, Some(Todo::Delete)) => Todo::Delete,
                (Todo::Delete, Some(Todo::Write(later))) => {
                    self.bytes -= later.bytes();
                    if later.begin.is_some() { Todo::Write(later) } else { Todo::Delete }
                }
                (Todo::Write(mut earlier), Some(Todo::Write(later))) => {
                    self.bytes -= later.bytes();
                    earlier.overlay(later);
                    Todo::Write(earlier)
                }
            };
            self.put(&session, todo);
        }
    }

    /// Sessions and bytes that are not safe yet.
    pub(super) fn size(&self) -> (usize, usize) {
        let writing = self.writing.sessions.iter().filter(|session| !self.todo.contains_key(*session));
        (self.todo.len() + writing.count(), self.bytes + self.writing.bytes)
    }

    fn put(&mut self, session: &str, todo: Todo) {
        if let Todo::Write(change) = &todo {
            self.bytes += change.bytes();
        }
        self.todo.insert(session.to_owned(), todo);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Begin, Part, TokenHash};

    fn part(name: &str, text: &str) -> Change {
        let parts = [(name.to_owned(), Some(Part::Bytes(text.into())))].into();
        Change { parts, ..Change::default() }
    }

    fn begin(change: Change) -> Change {
        Change { begin: Some(Begin { token: TokenHash([1; 32]), owner: String::new() }), ..change }
    }

    fn texts(todo: &Todo) -> Vec<(String, String)> {
        let Todo::Write(change) = todo else { return vec![("deleted".to_owned(), String::new())] };
        let text = |part: &Option<Part>| match part {
            Some(part) => String::from_utf8_lossy(&part.to_bytes()).into_owned(),
            None => "gone".to_owned(),
        };
        change.parts.iter().map(|(name, part)| (name.clone(), text(part))).collect()
    }

    #[test]
    fn later_changes_lie_over_earlier_ones() {
        let mut pending = Pending::default();
        for change in [begin(part("a", "1")), part("b", "1"), part("a", "2")] {
            pending.save("s", change).expect("there is room");
        }
        let mut gone = Change::default();
        gone.parts.insert("b".to_owned(), None);
        pending.save("s", gone).expect("there is room");
        assert_eq!(pending.size(), (1, 3));
        let taken = pending.take();
        let expected = [("a", "2"), ("b", "gone")].map(|(name, text)| (name.to_owned(), text.to_owned()));
        assert_eq!(texts(&taken["s"]), expected);
        pending.save("s", part("a", "3")).expect("there is room");
        pending.put_back(taken);
        assert_eq!(texts(&pending.take()["s"])[0].1, "3", "what came later wins");
    }

    #[test]
    fn what_is_being_written_counts_until_it_is_written() {
        let mut pending = Pending::default();
        pending.save("s", part("a", "1")).expect("there is room");
        let taken = pending.take();
        assert_eq!(pending.size(), (1, 2), "a server that is killed now has lost it");
        pending.save("s", part("b", "22")).expect("there is room");
        assert_eq!(pending.size(), (1, 5), "the same session");
        pending.put_back(taken);
        assert_eq!(pending.size(), (1, 5));
        pending.take();
        pending.written();
        assert_eq!(pending.size(), (0, 0));
        pending.save("s", part("a", &"x".repeat(PENDING_BYTES_CAPACITY - 1))).expect("there is room");
        pending.take();
        assert_eq!(pending.save("t", part("a", "y")), Err(NotTaken), "its memory is held on");
    }

    #[test]
    fn a_deleted_session_stays_deleted_until_it_begins_anew() {
        let mut pending = Pending::default();
        pending.save("s", begin(part("a", "1"))).expect("there is room");
        pending.delete("s");
        pending.save("s", part("a", "2")).expect("there is room");
        assert_eq!(texts(&pending.take()["s"])[0].0, "deleted");
        pending.delete("s");
        pending.save("s", begin(part("a", "3"))).expect("there is room");
        assert_eq!(texts(&pending.take()["s"])[0].1, "3");
    }

    #[test]
    fn what_waits_is_bounded_and_an_end_is_always_taken() {
        let mut pending = Pending::default();
        let big = part("a", &"x".repeat(PENDING_BYTES_CAPACITY - 1));
        pending.save("s", big).expect("there is room");
        assert_eq!(pending.save("t", part("a", "y")), Err(NotTaken));
        let ended = Change { confirmed: true, ..Change::default() };
        assert_eq!(pending.save("t", ended), Ok(()));
        pending.delete("s");
        assert_eq!(pending.save("t", part("a", "y")), Ok(()));
    }
}
