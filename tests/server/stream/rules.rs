//! What holds of every stream of server events, whatever a client sends. Reads event after event and panics with the
//! rule that was broken. Knows no socket.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

/// A stream as far as it was read.
#[derive(Debug, Default)]
pub(crate) struct Stream {
    event_ids: BTreeSet<String>,
    created: bool,
    items: BTreeMap<String, Item>,
    /// The id that the turn under way will have.
    speaking: Option<String>,
    responses: BTreeMap<String, Response>,
}

#[derive(Debug, Default)]
struct Item {
    done: bool,
    deleted: bool,
    /// Completed or failed.
    transcribed: bool,
}

#[derive(Debug, Default)]
struct Response {
    in_conversation: bool,
    done: bool,
    /// Its items by output index: id, and what is being made.
    items: Vec<Output>,
}

#[derive(Debug, Default)]
struct Output {
    id: String,
    done: bool,
    part: Option<Part>,
    arguments: String,
    arguments_done: bool,
}

#[derive(Debug, Default)]
struct Part {
    text: String,
    text_done: bool,
    audio: bool,
    audio_done: bool,
    done: bool,
}

impl Stream {
    /// Reads an event.
    pub(crate) fn read(&mut self, event: &Value) {
        let kind = text(event, "type");
        assert!(self.event_ids.insert(text(event, "event_id")), "an event id twice");
        assert_eq!(self.created, kind != "session.created", "session.created comes first, and once");
        match kind.as_str() {
            "session.created" => self.created = true,
            "session.updated" | "input_audio_buffer.cleared" => {}
            "error" => check_error(&event["error"]),
            _ if kind.starts_with("input_audio_buffer.") => self.input(&kind, event),
            _ if kind.starts_with("conversation.item.input_audio_transcription.") => {
                self.transcription(&kind, event);
            }
            _ if kind.starts_with("conversation.item.") => self.item(&kind, event),
            "response.created" | "response.done" => self.response(&kind, &event["response"]),
            _ if kind.starts_with("response.") => self.output(&kind, event),
            _ => panic!("an event that no stock client knows: {kind}"),
        }
    }

    /// Responses that run.
    pub(crate) fn open_responses(&self) -> Vec<String> {
        self.responses.iter().filter(|(_, response)| !response.done).map(|(id, _)| id.clone()).collect()
    }

    /// An item that the client may name, the `number`th in some order.
    pub(crate) fn some_item(&self, number: usize) -> Option<String> {
        self.items.keys().nth(number % self.items.len().max(1)).cloned()
    }

    /// What must hold when nothing is under way.
    pub(crate) fn settled(&self) {
        assert_eq!(self.open_responses(), Vec::<String>::new());
        let open: Vec<_> = self.items.iter().filter(|(_, item)| !item.done).collect();
        assert!(open.is_empty(), "items that were added and never done: {open:?}");
    }

    fn input(&mut self, kind: &str, event: &Value) {
        let id = text(event, "item_id");
        match kind {
            "input_audio_buffer.speech_started" => self.speaking = Some(id),
            "input_audio_buffer.speech_stopped" => assert_eq!(self.speaking.as_deref(), Some(&*id)),
            "input_audio_buffer.committed" => {
                self.known_or_null(&event["previous_item_id"]);
                assert!(!self.items.contains_key(&id), "committed twice: {id}");
                self.speaking = None;
            }
            "input_audio_buffer.timeout_triggered" => {}
            other => panic!("unknown: {other}"),
        }
    }

    fn transcription(&mut self, kind: &str, event: &Value) {
        let id = text(event, "item_id");
        if kind.ends_with(".delta") && self.speaking.as_ref() == Some(&id) {
            return; // while the person speaks
        }
        let item = self.items.get_mut(&id).unwrap_or_else(|| panic!("a transcript of no item: {id}"));
        assert!(!item.transcribed, "a transcript goes on after its end");
        item.transcribed = !kind.ends_with(".delta");
        if kind.ends_with(".completed") {
            assert!(event["usage"].is_object(), "usage is required: {event}");
        }
    }

    fn item(&mut self, kind: &str, event: &Value) {
        match kind {
            "conversation.item.added" => {
                self.known_or_null(&event["previous_item_id"]);
                let id = text(&event["item"], "id");
                let before = self.items.insert(id.clone(), Item::default());
                assert!(before.is_none_or(|item| item.deleted), "added twice: {id}");
            }
            "conversation.item.done" => {
                self.known_or_null(&event["previous_item_id"]);
                let item = self.known(&text(&event["item"], "id"));
                assert!(!std::mem::replace(&mut item.done, true), "done twice");
            }
            "conversation.item.retrieved" => {
                self.known(&text(&event["item"], "id"));
            }
            "conversation.item.truncated" => {
                self.known(&text(event, "item_id"));
            }
            "conversation.item.deleted" => {
                let item = self.known(&text(event, "item_id"));
                assert!(!std::mem::replace(&mut item.deleted, true), "deleted twice");
            }
            other => panic!("unknown: {other}"),
        }
    }

    fn response(&mut self, kind: &str, response: &Value) {
        let id = text(response, "id");
        if kind == "response.created" {
            let in_conversation = response["conversation_id"].is_string();
            let others = self.responses.values().filter(|other| !other.done && other.in_conversation).count();
            assert!(!in_conversation || others == 0, "two answers at once");
            let begun = Response { in_conversation, ..Response::default() };
            assert!(self.responses.insert(id, begun).is_none(), "created twice");
            return;
        }
        let known = self.responses.get_mut(&id).expect("a response that was created");
        assert!(!std::mem::replace(&mut known.done, true), "done twice");
        let made: Vec<_> = known.items.iter().map(|output| (output.id.clone(), output.done)).collect();
        let output = response["output"].as_array().expect("a list");
        let told: Vec<_> = output.iter().map(|item| (text(item, "id"), true)).collect();
        assert_eq!(made, told, "response.done tells the items that were made, and they are done");
        assert!(response["usage"]["total_tokens"].is_u64(), "usage is always whole: {response}");
        assert!(response["status_details"].is_object(), "{response}");
    }

    fn output(&mut self, kind: &str, event: &Value) {
        let response =
            self.responses.get_mut(&text(event, "response_id")).expect("a response that was created");
        assert!(!response.done, "{kind} after response.done");
        let index = usize::try_from(event["output_index"].as_u64().expect("a place")).expect("small");
        if kind == "response.output_item.added" {
            assert_eq!(index, response.items.len(), "places are counted up");
            assert!(response.items.iter().all(|output| output.done), "the item before is done first");
            let id = text(&event["item"], "id");
            response.items.push(Output { id, ..Output::default() });
            return;
        }
        let output = response.items.get_mut(index).expect("an item that was added");
        assert!(!output.done, "{kind} after output_item.done");
        if kind == "response.output_item.done" {
            assert_eq!(text(&event["item"], "id"), output.id);
            assert!(output.part.as_ref().is_none_or(|part| part.done), "its part is done first");
            output.done = true;
        } else {
            assert_eq!(text(event, "item_id"), output.id);
            output.piece(kind, event);
        }
    }

    fn known(&mut self, id: &str) -> &mut Item {
        self.items.get_mut(id).unwrap_or_else(|| panic!("an item that was never added: {id}"))
    }

    fn known_or_null(&self, id: &Value) {
        let known = id.is_null() || id.as_str().is_some_and(|id| self.items.contains_key(id));
        assert!(known, "previous_item_id names no item: {id}");
    }
}

impl Output {
    fn piece(&mut self, kind: &str, event: &Value) {
        match kind {
            "response.function_call_arguments.delta" => {
                assert!(!self.arguments_done);
                self.arguments += &text(event, "delta");
            }
            "response.function_call_arguments.done" => {
                assert!(!std::mem::replace(&mut self.arguments_done, true));
                assert_eq!(text(event, "arguments"), self.arguments);
            }
            "response.content_part.added" => {
                assert!(self.part.replace(Part::default()).is_none(), "one part a message");
            }
            _ => self.part.as_mut().expect("a part that was added").piece(kind, event),
        }
    }
}

impl Part {
    fn piece(&mut self, kind: &str, event: &Value) {
        assert!(!self.done, "{kind} after content_part.done");
        match kind {
            "response.output_text.delta" | "response.output_audio_transcript.delta" => {
                assert!(!self.text_done);
                self.text += &text(event, "delta");
            }
            "response.output_text.done" => self.finish_text(&text(event, "text")),
            "response.output_audio_transcript.done" => self.finish_text(&text(event, "transcript")),
            "response.output_audio.delta" => {
                assert!(!self.audio_done);
                self.audio = true;
            }
            "response.output_audio.done" => assert!(!std::mem::replace(&mut self.audio_done, true)),
            "response.content_part.done" => {
                assert!(self.text_done && (self.audio_done || !self.audio), "{event}");
                self.done = true;
            }
            other => panic!("unknown: {other}"),
        }
    }

    /// The whole text is what the pieces were, or its beginning where it was cut to what was heard.
    fn finish_text(&mut self, whole: &str) {
        assert!(self.text.starts_with(whole), "{whole:?} is not what was told: {:?}", self.text);
        assert!(!std::mem::replace(&mut self.text_done, true));
    }
}

fn check_error(error: &Value) {
    for field in ["type", "code", "message"] {
        assert!(error[field].as_str().is_some_and(|text| !text.is_empty()), "{field} is missing: {error}");
    }
}

fn text(value: &Value, field: &str) -> String {
    value[field].as_str().unwrap_or_else(|| panic!("'{field}' is missing in {value}")).to_owned()
}
