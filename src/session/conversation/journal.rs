//! Which items of a conversation changed since somebody last asked, so that they can be kept one by one. Pure.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{Conversation, Entry, Item, Timeline};
use crate::session::id::ItemId;

/// Ranks between two items that follow each other: enough to halve the gap thirty times.
const RANK_STEP: i64 = 1 << 32;

/// An item with all that is known of it, as it is kept outside of the conversation.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct KeptItem {
    /// Rising along the conversation.
    pub rank: i64,
    /// The item.
    pub item: Item,
    /// When each word is heard, of a spoken message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeline: Option<Timeline>,
}

/// Ids of items that changed; `None` while nobody asks.
#[derive(Debug, Default)]
pub(super) struct Journal(Option<BTreeSet<ItemId>>);

impl Journal {
    pub(super) fn touch(&mut self, id: &ItemId) {
        if let Some(touched) = &mut self.0 {
            touched.insert(id.clone());
        }
    }
}

impl Conversation {
    /// Notes changes from now on. Whoever asks for it takes them now and then.
    pub fn watch_changes(&mut self) {
        self.journal.0.get_or_insert_default();
    }

    /// Items that changed since the last call, with what they are now; `None` for those that are gone.
    pub fn take_changes(&mut self) -> Vec<(ItemId, Option<KeptItem>)> {
        let touched = self.journal.0.as_mut().map(std::mem::take).unwrap_or_default();
        touched.into_iter().map(|id| (id.clone(), self.kept(&id))).collect()
    }

    /// All items, in order.
    pub fn all_kept(&self) -> impl Iterator<Item = KeptItem> {
        self.entries.iter().map(Entry::kept)
    }

    /// Items that were kept, in their order, behind those that are there.
    pub fn restore(&mut self, mut items: Vec<KeptItem>) {
        items.sort_by_key(|kept| kept.rank);
        for KeptItem { rank, item, timeline } in items {
            let entry = Entry::new(item, timeline, rank);
            self.bytes += entry.bytes;
            self.entries.push(entry);
        }
    }

    /// Whether the person spoke or a tool answered last, and nobody answered yet.
    pub fn awaits_response(&self) -> bool {
        use super::{ItemBody, Role};
        let last = self
            .entries
            .iter()
            .rev()
            .find(|entry| !matches!(&entry.item.body, ItemBody::Message { role: Role::System, .. }));
        last.is_some_and(|entry| match &entry.item.body {
            ItemBody::Message { role, .. } => *role == Role::User,
            ItemBody::FunctionCallOutput { .. } => true,
            ItemBody::FunctionCall { .. } => false,
        })
    }

    fn kept(&self, id: &ItemId) -> Option<KeptItem> {
        self.position(id).map(|at| self.entries[at].kept())
    }

    /// The rank of an item that is to stand at `at`.
    pub(super) fn rank_at(&mut self, at: usize) -> i64 {
        let before = at.checked_sub(1).map(|before| self.entries[before].rank);
        let after = self.entries.get(at).map(|entry| entry.rank);
        match (before, after) {
            (None, None) => 0,
            (Some(before), None) => before.saturating_add(RANK_STEP),
            (None, Some(after)) => after.saturating_sub(RANK_STEP),
            (Some(before), Some(after)) if after - before > 1 => before + (after - before) / 2,
            (Some(_), Some(_)) => {
                self.spread();
                self.rank_at(at)
            }
        }
    }

    /// Gives all items ranks with room between them.
    fn spread(&mut self) {
        for (entry, rank) in self.entries.iter_mut().zip((0..).map(|place: i64| place * RANK_STEP)) {
            entry.rank = rank;
            self.journal.touch(&entry.item.id);
        }
    }
}

impl Entry {
    fn kept(&self) -> KeptItem {
        KeptItem { rank: self.rank, item: self.item.clone(), timeline: self.timeline.clone() }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::session::conversation::{Content, ItemBody, ItemStatus, Previous, Role};

    fn message(id: &str, role: Role) -> Item {
        let body = ItemBody::Message { role, content: vec![Content::InputText(format!("of {id}"))] };
        Item { id: id.into(), status: ItemStatus::Completed, body }
    }

    fn order(conversation: &Conversation) -> Vec<String> {
        conversation.all_kept().map(|kept| kept.item.id.to_string()).collect()
    }

    #[test]
    fn ranks_have_room_again_after_many_items_between_two() {
        let mut conversation = Conversation::new(100);
        for id in ["a", "z"] {
            conversation.insert(&Previous::Last, message(id, Role::User)).expect("there is room");
        }
        for number in 0..60 {
            let item = message(&format!("i{number}"), Role::User);
            conversation.insert(&Previous::Item("a".into()), item).expect("there is room");
        }
        let ranks: Vec<_> = conversation.all_kept().map(|kept| kept.rank).collect();
        assert!(ranks.is_sorted_by(|a, b| a < b), "{ranks:?}");
    }

    #[test]
    fn who_spoke_last_decides_whether_an_answer_is_due() {
        let mut conversation = Conversation::new(10);
        assert!(!conversation.awaits_response());
        for (id, role, due) in [
            ("a", Role::User, true),
            ("b", Role::Assistant, false),
            ("c", Role::User, true),
            ("d", Role::System, true),
        ] {
            conversation.insert(&Previous::Last, message(id, role)).expect("there is room");
            assert_eq!(conversation.awaits_response(), due, "{id}");
        }
    }

    proptest! {
        /// Whoever applies the changes as they are taken, at any times, has the same items in the same order.
        #[test]
        fn changes_rebuild_the_conversation(steps in prop::collection::vec((0u8..6, 0u8..12, any::<bool>()), 1..120)) {
            let mut conversation = Conversation::new(8);
            conversation.watch_changes();
            let mut copy: BTreeMap<ItemId, KeptItem> = BTreeMap::new();
            for (step, (kind, of, take)) in steps.into_iter().enumerate() {
                let (id, item) = (ItemId::from(format!("i{of}")), message(&format!("n{step}"), Role::User));
                let existing = order(&conversation).get(usize::from(of)).map(|id| ItemId::from(id.as_str()));
                match (kind, existing) {
                    (0, _) => drop(conversation.insert(&Previous::Root, item)),
                    (1, Some(before)) => drop(conversation.insert(&Previous::Item(before), item)),
                    (2, Some(gone)) => conversation.remove(&gone).expect("it is there"),
                    (3, Some(changed)) => conversation.replace(message(changed.as_str(), Role::Assistant), None),
                    (4, _) => drop(conversation.remove(&id)),
                    _ => drop(conversation.push_evicting(item)),
                }
                if take {
                    for (id, kept) in conversation.take_changes() {
                        match kept {
                            Some(kept) => drop(copy.insert(id, kept)),
                            None => drop(copy.remove(&id)),
                        }
                    }
                    let mut restored = Conversation::new(8);
                    restored.restore(copy.values().cloned().collect());
                    prop_assert_eq!(order(&restored), order(&conversation));
                    prop_assert_eq!(restored.bytes(), conversation.bytes());
                    let (left, right): (Vec<_>, Vec<_>) = (restored.all_kept().collect(), conversation.all_kept().collect());
                    prop_assert_eq!(left, right);
                }
            }
        }
    }
}
