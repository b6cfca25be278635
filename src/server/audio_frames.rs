//! How a session's audio travels on its socket: within JSON, or as binary frames beside it where the client asked
//! for that. Pure.
//!
//! A binary frame of the server is the number of its audio stream, four bytes with the highest first, and the bytes
//! of one delta. The number was announced by `response.content_part.added`; each part of an answer has its own, so
//! that a client can tell at once what belongs to an answer that it no longer plays.

use axum::body::Bytes;
use yawc::Frame;

use super::convert;
use super::socket::{count_out, text_frame};
use crate::protocol::{PartExtension, ServerEvent};
use crate::session::SessionEvent;
use crate::session::event::{OutputPlace, ResponseEvent};
use crate::session::id::ItemId;
use crate::session::settings::Modality;

/// How audio travels.
#[derive(Debug, Default)]
pub(super) enum AudioTransport {
    /// As base64 within JSON, as the protocol has it.
    #[default]
    Json,
    /// As binary frames, both ways.
    Binary(AudioStreams),
}

impl AudioTransport {
    /// What `?audio=` asks for; `None` where there is no such choice.
    pub(super) fn of_query(wish: Option<&str>) -> Option<Self> {
        match wish {
            None | Some("json") => Some(Self::Json),
            Some("binary") => Some(Self::Binary(AudioStreams::default())),
            Some(_) => None,
        }
    }

    /// Whether a binary frame of the client is audio.
    pub(super) fn is_binary(&self) -> bool {
        matches!(self, Self::Binary(_))
    }

    /// An event as a frame, counted. `None` for one that is no frame.
    pub(super) fn frame(&mut self, event: SessionEvent) -> Option<Frame> {
        let Self::Binary(streams) = self else { return text_frame(convert::server_event(event)?) };
        let announced = match &event {
            SessionEvent::Response(ResponseEvent::AudioDelta(place, bytes)) => {
                return Some(streams.frame(place, bytes));
            }
            SessionEvent::Response(ResponseEvent::PartAdded(place, Modality::Audio)) => {
                Some(streams.number(place))
            }
            SessionEvent::Response(ResponseEvent::AudioDone(place)) => {
                streams.end(place);
                None
            }
            _ => None,
        };
        let mut event = convert::server_event(event)?;
        if let ServerEvent::ResponseContentPartAdded { antiphon, .. } = &mut event {
            *antiphon = announced.map(|audio_stream| PartExtension { audio_stream });
        }
        text_frame(event)
    }
}

/// The numbers of the parts that are being spoken.
#[derive(Debug, Default)]
pub(super) struct AudioStreams {
    open: Vec<(ItemId, u32)>,
    last: u32,
}

impl AudioStreams {
    /// The number of a part; a new one where it has none yet.
    fn number(&mut self, place: &OutputPlace) -> u32 {
        if let Some((_, number)) = self.open.iter().find(|(item, _)| *item == place.item) {
            return *number;
        }
        self.last = self.last.wrapping_add(1);
        self.open.push((place.item.clone(), self.last));
        self.last
    }

    fn end(&mut self, place: &OutputPlace) {
        self.open.retain(|(item, _)| *item != place.item);
    }

    fn frame(&mut self, place: &OutputPlace, audio: &[u8]) -> Frame {
        let bytes: Bytes = [&self.number(place).to_be_bytes(), audio].concat().into();
        count_out(bytes.len());
        Frame::binary(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::id::ResponseId;
    use serde_json::Value;
    use yawc::OpCode;

    fn place(index: usize) -> OutputPlace {
        OutputPlace { response: ResponseId::random(), item: ItemId::random(), index }
    }

    fn event(transport: &mut AudioTransport, event: ResponseEvent) -> Frame {
        transport.frame(SessionEvent::Response(event)).expect("a frame")
    }

    fn json(frame: &Frame) -> Value {
        assert_eq!(frame.opcode(), OpCode::Text);
        serde_json::from_slice(frame.payload()).expect("JSON")
    }

    #[test]
    fn two_answers_at_once_have_streams_of_their_own() {
        let mut transport = AudioTransport::of_query(Some("binary")).expect("a choice");
        let (first, second) = (place(0), place(0));
        for (place, number) in [(&first, 1), (&second, 2)] {
            let added = event(&mut transport, ResponseEvent::PartAdded(place.clone(), Modality::Audio));
            assert_eq!(json(&added)["antiphon"]["audio_stream"], number);
        }
        for (place, number) in [(&second, 2), (&first, 1), (&second, 2)] {
            let frame = event(&mut transport, ResponseEvent::AudioDelta(place.clone(), vec![7, 8, 9]));
            assert_eq!(frame.opcode(), OpCode::Binary);
            assert_eq!(&frame.payload()[..], [0, 0, 0, number, 7, 8, 9]);
        }
        event(&mut transport, ResponseEvent::AudioDone(first));
        let next = event(&mut transport, ResponseEvent::PartAdded(place(1), Modality::Audio));
        assert_eq!(json(&next)["antiphon"]["audio_stream"], 3, "a number is never given again");
        let text = event(&mut transport, ResponseEvent::PartAdded(place(2), Modality::Text));
        assert!(json(&text).get("antiphon").is_none(), "text has no stream");
    }

    #[test]
    fn without_the_wish_all_is_json_and_nothing_is_added() {
        let mut transport = AudioTransport::of_query(None).expect("the default");
        let place = place(0);
        let added = event(&mut transport, ResponseEvent::PartAdded(place.clone(), Modality::Audio));
        assert!(json(&added).get("antiphon").is_none());
        let delta = event(&mut transport, ResponseEvent::AudioDelta(place, vec![7, 8, 9]));
        assert_eq!(json(&delta)["delta"], "BwgJ");
        assert!(AudioTransport::of_query(Some("json")).is_some_and(|transport| !transport.is_binary()));
        assert!(AudioTransport::of_query(Some("ogg")).is_none());
    }
}
