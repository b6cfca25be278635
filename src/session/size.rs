//! How many bytes things hold, about: texts and audio, with a fixed share for the rest. For the memory account.

use serde_json::Value;

use super::command::{Action, SessionCommand};
use super::conversation::{Content, Item, ItemBody, Timeline};
use super::event::{ResponseEvent, ResponseView, SessionEvent};
use super::metered::Payload;
use super::settings::{EchoSettings, ResponseInput, ResponseRequest, SessionSettings, SettingsPatch};
use super::translation::Translation;
use crate::audio::AudioFormat;
use crate::engine::llm::ToolSpec;
use crate::engine::stt::STT_SAMPLE_RATE;

/// Of an item: its struct and its place in the history.
const ITEM_BYTES: usize = 128;
/// Of a word time: its struct; the text comes on top.
const WORD_BYTES: usize = 32;

/// An item of a conversation.
pub(super) fn item(item: &Item) -> usize {
    let body = match &item.body {
        ItemBody::Message { content, .. } => content.iter().map(part).sum(),
        ItemBody::FunctionCall { call_id, name, arguments } => call_id.len() + name.len() + arguments.len(),
        ItemBody::FunctionCallOutput { call_id, output } => call_id.len() + output.len(),
    };
    ITEM_BYTES + item.id.as_str().len() + body
}

fn part(content: &Content) -> usize {
    match content {
        Content::InputText(text) | Content::OutputText(text) | Content::OutputAudio(text) => text.len(),
        Content::InputAudio(transcript) => transcript.as_ref().map_or(0, String::len),
    }
}

/// Word times.
pub(super) fn timeline(timeline: &Timeline) -> usize {
    timeline.words().map(|word| WORD_BYTES + word.text.len()).sum()
}

/// The settings of a session.
pub(super) fn settings(settings: &SessionSettings) -> usize {
    settings.instructions.len() + settings.voice.len() + tools(&settings.tools) + echo(&settings.echo)
}

fn patch(patch: &SettingsPatch) -> usize {
    let tools = patch.tools.as_deref().map_or(0, tools);
    patch.instructions.as_ref().map_or(0, String::len) + tools + echo(&patch.echo)
}

fn tools(tools: &[ToolSpec]) -> usize {
    tools.iter().map(|tool| tool.name.len() + tool.description.len() + json(&tool.parameters)).sum()
}

fn echo(echo: &EchoSettings) -> usize {
    [&echo.noise_reduction, &echo.tracing, &echo.prompt, &echo.include, &echo.reasoning]
        .into_iter()
        .flatten()
        .map(json)
        .sum()
}

fn json(value: &Value) -> usize {
    match value {
        Value::String(text) => text.len(),
        Value::Array(entries) => entries.iter().map(json).sum::<usize>() + size_of_val(entries.as_slice()),
        Value::Object(entries) => {
            entries.iter().map(|(key, value)| key.len() + size_of::<Value>() + json(value)).sum()
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => size_of::<Value>(),
    }
}

fn request(request: &ResponseRequest) -> usize {
    let input = request.input.iter().flatten().map(|input| match input {
        ResponseInput::Item(whole) => item(whole),
        ResponseInput::Reference(id) => id.as_str().len(),
    });
    let texts = request.instructions.as_ref().map_or(0, String::len);
    texts + request.tools.as_deref().map_or(0, tools) + input.sum::<usize>()
}

/// What a session would hold more after this: the payload, audio as it is kept (16 kHz, 16 bit). 0 for what gives
/// memory back or adds nothing.
pub(super) fn incoming(action: &Action, format: AudioFormat) -> usize {
    match action {
        Action::AppendAudio(bytes) => {
            let samples = format.samples_in(bytes) as u64;
            let kept = samples * u64::from(STT_SAMPLE_RATE) / u64::from(format.sample_rate());
            usize::try_from(kept).unwrap_or(usize::MAX) * size_of::<i16>()
        }
        Action::CreateItem { item: new, .. } => item(new),
        Action::CreateResponse(wanted) => request(wanted),
        Action::Update(change) => patch(change),
        Action::OfSideband(_, action) => incoming(action, format),
        _ => 0,
    }
}

impl Payload for SessionCommand {
    fn payload_bytes(&self) -> usize {
        let action = match &self.action {
            Action::OfSideband(_, action) => &**action,
            action => action,
        };
        let payload = match action {
            Action::AppendAudio(bytes) => bytes.len(),
            other => incoming(other, AudioFormat::Pcm16),
        };
        size_of::<Self>() + payload
    }
}

impl Payload for SessionEvent {
    fn payload_bytes(&self) -> usize {
        let payload = match self {
            Self::Created(view) | Self::Updated(view) => settings(&view.settings),
            Self::ItemAdded { item: it, .. } | Self::ItemDone { item: it, .. } | Self::ItemRetrieved(it) => {
                item(it)
            }
            Self::TranscriptionDelta { delta: text, .. }
            | Self::TranscriptionCompleted { transcript: text, .. } => text.len(),
            Self::Translation(notice) => translation(&notice.translation),
            Self::Response(event) => response_event(event),
            _ => 0,
        };
        size_of::<Self>() + payload
    }
}

fn translation(translation: &Translation) -> usize {
    match translation {
        Translation::Partial { source, text, .. } | Translation::Completed { source, text } => {
            size_of::<Translation>() + source.len() + text.len()
        }
        Translation::Failed(_) => size_of::<Translation>(),
    }
}

fn response_event(event: &ResponseEvent) -> usize {
    match event {
        ResponseEvent::Created(view) | ResponseEvent::Done(view) => response(view),
        ResponseEvent::ItemAdded(_, it) | ResponseEvent::ItemDone(_, it) => item(it),
        ResponseEvent::AudioDelta(_, bytes) => bytes.len(),
        ResponseEvent::TextDelta(_, text)
        | ResponseEvent::TranscriptDelta(_, text)
        | ResponseEvent::TextDone(_, text)
        | ResponseEvent::TranscriptDone(_, text)
        | ResponseEvent::PartDone(_, _, text)
        | ResponseEvent::ArgumentsDelta(_, _, text)
        | ResponseEvent::ArgumentsDone(_, _, text) => text.len(),
        ResponseEvent::PartAdded(..) | ResponseEvent::AudioDone(_) => 0,
    }
}

fn response(view: &ResponseView) -> usize {
    size_of::<ResponseView>() + view.output.iter().map(item).sum::<usize>()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audio::Encoder;

    #[test]
    fn audio_counts_as_it_is_kept() {
        for format in AudioFormat::ALL {
            let second = vec![0; format.sample_rate() as usize];
            let pieces = Encoder::new(format).encode(&second);
            let bytes = pieces.into_iter().map(|piece| incoming(&Action::AppendAudio(piece), format));
            assert_eq!(bytes.sum::<usize>(), 32_000, "{format:?}");
        }
        assert_eq!(incoming(&Action::CommitAudio, AudioFormat::Pcm16), 0);
    }

    #[test]
    fn texts_count_by_their_length() {
        let command = |text: &str| {
            let patch = SettingsPatch { instructions: Some(text.to_owned()), ..SettingsPatch::default() };
            SessionCommand { client_event_id: None, action: Action::Update(Box::new(patch)) }
        };
        let (short, long) = (command(""), command(&"x".repeat(1_000)));
        assert_eq!(long.payload_bytes() - short.payload_bytes(), 1_000);
    }
}
