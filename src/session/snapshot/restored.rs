//! A session as it is read back from its snapshot.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::de::DeserializeOwned;
use thiserror::Error;

use super::parts::{self, FORMAT, Head};
use super::view::InterruptedAnswer;
use crate::audio::pcm::sample_to_f32;
use crate::session::conversation::{Content, Item, ItemBody, ItemStatus, KeptItem};
use crate::session::id::ItemId;
use crate::session::response::AnswerProgress;
use crate::session::settings::SessionSettings;
use crate::store::Stored;

/// A session as it is read back.
#[derive(Clone, Debug)]
pub(in crate::session) struct Restored {
    pub(in crate::session) head: Head,
    pub(in crate::session) settings: SessionSettings,
    /// In order.
    pub(in crate::session) items: Vec<KeptItem>,
    pub(in crate::session) interrupted: Option<InterruptedAnswer>,
    /// Committed turns that have no transcript, in order, 16 kHz mono in [-1, 1].
    pub(in crate::session) untranscribed: Vec<(ItemId, Arc<[f32]>)>,
}

/// A snapshot that this version cannot read.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("the snapshot cannot be read: {reason}")]
pub struct Unreadable {
    /// What is wrong with it.
    pub reason: String,
}

impl Restored {
    /// Reads a snapshot. What was being made when its session ended without a word ends here: an answer is cut to
    /// what was heard.
    pub(in crate::session) fn read(stored: &Stored) -> Result<Self, Unreadable> {
        let parts = &stored.parts;
        let head: Head = read(parts, parts::HEAD)?.ok_or_else(|| unreadable("it has no head"))?;
        if head.format != FORMAT {
            return Err(unreadable(&format!("its format is {}, this version reads {FORMAT}", head.format)));
        }
        let settings = read(parts, parts::SETTINGS)?.ok_or_else(|| unreadable("it has no settings"))?;
        let mut items = Vec::new();
        for name in parts.keys().filter(|name| parts::is_item(name)) {
            items.extend(read::<KeptItem>(parts, name)?);
        }
        items.sort_by_key(|kept| kept.rank);
        let answer = read(parts, parts::ANSWER)?;
        let interrupted = end_items(&mut items, answer.as_ref());
        let untranscribed = untranscribed(&items, parts);
        Ok(Self { head, settings, items, interrupted, untranscribed })
    }
}

/// Ends what was being made; tells which answer was cut.
fn end_items(items: &mut [KeptItem], answer: Option<&AnswerProgress>) -> Option<InterruptedAnswer> {
    let mut interrupted = None;
    for kept in items {
        let answered = answer.filter(|answer| answer.item == kept.item.id);
        let cut_here = kept.item.status == ItemStatus::InProgress;
        match answered {
            Some(answer) if cut_here => answer.cut(kept),
            None if cut_here => kept.item.status = ItemStatus::Incomplete,
            _ => {}
        }
        if let Some(answer) = answered.filter(|_| kept.item.status == ItemStatus::Incomplete) {
            interrupted = Some(InterruptedAnswer {
                item: kept.item.id.clone(),
                heard_ms: answer.heard_ms,
                audio_ms: answer.audio_ms,
            });
        }
    }
    interrupted
}

fn untranscribed(items: &[KeptItem], parts: &BTreeMap<String, Vec<u8>>) -> Vec<(ItemId, Arc<[f32]>)> {
    let of_turn = |kept: &KeptItem| {
        let bytes = parts.get(&parts::turn_part(&kept.item.id))?;
        let samples = bytes.chunks_exact(2).map(|pair| sample_to_f32(i16::from_le_bytes([pair[0], pair[1]])));
        Some((kept.item.id.clone(), samples.collect()))
    };
    items.iter().filter(|kept| waits(&kept.item)).filter_map(of_turn).collect()
}

/// Whether an item has speech without a transcript.
fn waits(item: &Item) -> bool {
    matches!(&item.body, ItemBody::Message { content, .. } if content.contains(&Content::InputAudio(None)))
}

fn read<T: DeserializeOwned>(parts: &BTreeMap<String, Vec<u8>>, name: &str) -> Result<Option<T>, Unreadable> {
    let value = parts.get(name).map(|part| serde_json::from_slice(part));
    value.transpose().map_err(|error| unreadable(&format!("{}: {error}", kind(name))))
}

/// The part without ids, which clients may choose.
fn kind(name: &str) -> &str {
    name.split('/').next().unwrap_or(name)
}

fn unreadable(reason: &str) -> Unreadable {
    Unreadable { reason: reason.to_owned() }
}
