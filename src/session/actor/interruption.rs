//! Interruptions: a voice is suspected, held against, believed or dismissed; the answer is parked, and goes on if it
//! was for nothing. The judgements are in `session/interruption`.

use tokio::time::Instant;

use super::SessionActor;
use super::running::Running;
use crate::session::completeness::Completeness;
use crate::session::event::{ResponseStatus, TurnTimings};
use crate::session::id::ResponseId;
use crate::session::interruption::Suspicion;
use crate::session::interruption::backchannel::{is_backchannel, is_nothing};
use crate::session::interruption::echo::{self, Likeness, Microphone};
use crate::session::interruption::parked::{Parked, Sent};
use crate::session::lifecycle::RequestKind;
use crate::session::quota::RequestPermit;
use crate::session::response::{ActiveResponse, ResponseSettings, Spoken};
use crate::session::settings::{Modality, ResponseRequest};
use crate::session::speech_pipeline::Reply;
use crate::session::turn::{SAMPLES_PER_MS, TurnAction, VoiceFrame};
use crate::telemetry::clock::whole_ms;
use crate::telemetry::metrics as names;

/// How long after the end of an answer its echo may still arrive.
const ECHO_TAIL: std::time::Duration = std::time::Duration::from_millis(600);
/// How long sending waits for the judgement of a sound. The client has more than that ahead.
const LONGEST_HOLD_MS: u64 = 500;
/// With less than this left of an answer, "yes" and "okay" answer it rather than accompany it: LiveKit's boundary.
const BACKCHANNEL_EDGE_MS: u64 = 1_000;

/// What a response that is interrupted was still to say.
type Pending = (ResponseSettings, Option<Reply>, Option<RequestPermit>);

impl SessionActor {
    /// Takes in a frame of the microphone.
    pub(super) fn follow_frame(&mut self, frame: VoiceFrame) {
        match self.turn.on_frame(frame) {
            Some(TurnAction::Begin { from, .. }) if self.may_be_interrupting() => {
                self.suspicion = Some(Suspicion::new(from, frame.onset, frame.end));
                self.responses.hold(true);
            }
            Some(TurnAction::Try { .. } | TurnAction::End { .. }) if self.is_unfounded() => {
                self.turn.abandon();
                self.dismiss_suspicion();
            }
            Some(action @ TurnAction::Try { .. }) if self.waits_for_words() => self.on_turn_action(action),
            Some(action @ (TurnAction::Try { .. } | TurnAction::End { .. })) => {
                self.believe_suspicion(); // what cannot be told from an interruption is one: the person counts
                self.on_turn_action(action);
            }
            Some(action) => self.on_turn_action(action),
            None => {}
        }
        self.watch_spare(frame);
        self.weigh_suspicion(frame);
    }

    fn weigh_suspicion(&mut self, frame: VoiceFrame) {
        let Some(suspicion) = &mut self.suspicion else { return self.watch_microphone(frame) };
        suspicion.on_frame(frame.end, frame.voice);
        let is_believed = suspicion.is_believed(&self.config.interruption);
        let likeness = self.compare_with_answer(frame);
        if voice_age_ms(frame) > LONGEST_HOLD_MS {
            self.responses.hold(false); // or the answer would run dry
        }
        let Some(suspicion) = self.suspicion.as_mut().filter(|_| is_believed) else { return };
        match likeness {
            Likeness::Echo => {
                suspicion.unlike = 0;
                self.microphone = Microphone::HearsAnswers;
            }
            Likeness::Other => suspicion.unlike += 1,
            Likeness::TooSoon => {}
        }
        suspicion.is_echo = self.microphone == Microphone::HearsAnswers;
        if suspicion.unlike >= self.microphone.patience() {
            self.believe_suspicion();
        }
    }

    /// Whether there is something audible that a voice would interrupt.
    fn may_be_interrupting(&self) -> bool {
        let interrupts = self.settings.turn_detection.as_ref().is_some_and(|turns| turns.interrupt_response);
        let speaks = |running: &Running| running.response.settings.modality == Modality::Audio;
        let runs = self.responses.in_conversation().is_some_and(speaks);
        let plays =
            |spoken: &Spoken| spoken.playback.ends_at().is_some_and(|end| Instant::now() < end + ECHO_TAIL);
        interrupts && (runs || self.last_spoken.as_ref().is_some_and(plays))
    }

    /// Whether the suspected sound, now that it pauses, was too short, or an echo.
    fn is_unfounded(&self) -> bool {
        let config = &self.config.interruption;
        let unfounded = |suspicion: &Suspicion| {
            !suspicion.waits_for_words(config) && (suspicion.is_echo || !suspicion.is_believed(config))
        };
        self.suspicion.as_ref().is_some_and(unfounded)
    }

    fn waits_for_words(&self) -> bool {
        self.suspicion.is_some_and(|suspicion| suspicion.waits_for_words(&self.config.interruption))
    }

    /// What the suspected sound is, next to what is played.
    fn compare_with_answer(&self, frame: VoiceFrame) -> Likeness {
        let guarded = self.config.interruption.echo_guard && self.microphone != Microphone::Deaf;
        let Some((sent, played_ms)) = self.playing().filter(|_| guarded) else { return Likeness::Other };
        if voice_age_ms(frame) > played_ms {
            return Likeness::Other; // it began before the answer did
        }
        echo::compare(&self.components.input.levels(), sent.levels(), played_ms)
    }

    /// An answer that sounds for a while with nothing in the input says that the microphone does not hear it.
    fn watch_microphone(&mut self, frame: VoiceFrame) {
        let unheard = |played_ms| played_ms >= echo::QUIET_MS && voice_age_ms(frame) > played_ms;
        let sounds = self.responses.in_conversation().is_some();
        if !frame.voice && sounds && self.playing().is_some_and(|(_, played_ms)| unheard(played_ms)) {
            self.microphone = Microphone::Deaf;
        }
    }

    /// What sounds now or did last, and for how many milliseconds it has been playing.
    fn playing(&self) -> Option<(&Sent, u64)> {
        let running = self.responses.in_conversation().map(|running| &running.response);
        let running = running.filter(|response| response.playback().has_started());
        let running = running.map(|response| (response.sent(), response.playback()));
        let (sent, playback) =
            running.or(self.last_spoken.as_ref().map(|last| (&last.sent, &last.playback)))?;
        Some((sent, whole_ms(playback.position(Instant::now()))))
    }

    /// The person interrupts, or that is as good as certain.
    pub(super) fn believe_suspicion(&mut self) {
        let Some(suspicion) = self.suspicion.take() else { return };
        self.responses.hold(false);
        self.begin_turn(suspicion.from);
    }

    /// Whether there is a suspicion that no words would change.
    pub(super) fn is_suspect_without_words(&self) -> bool {
        self.suspicion.is_some() && self.config.interruption.min_words == 0
    }

    /// Words of a sound that may not be a turn; they are not told to the client. Whether it is such a sound.
    pub(super) fn note_suspect_words(&mut self, text: &str) -> bool {
        self.suspicion.as_mut().map(|suspicion| suspicion.on_text(text)).is_some()
    }

    /// It was nothing: the answer goes on as if it had not been.
    pub(super) fn dismiss_suspicion(&mut self) {
        if self.suspicion.take().is_some() {
            drop(self.hearing.finish());
            self.responses.hold(false);
            count("dismissed");
        }
    }

    /// The words of a sound that is suspected still. Whether it is a turn.
    pub(super) fn hear_suspect(&mut self, text: &str) -> bool {
        let Some(suspicion) = &mut self.suspicion else { return true };
        suspicion.on_text(text);
        if suspicion.is_believed(&self.config.interruption) {
            self.believe_suspicion();
            return true;
        }
        self.turn.abandon();
        self.attempt = None;
        self.dismiss_suspicion();
        false
    }

    /// The person speaks: ends the answer that runs, cuts the history to what was heard, and parks the rest. What
    /// runs out of band goes on.
    pub(super) fn interrupt(&mut self) {
        self.unanswered = None; // it is answered with what is being said now
        let pending = self.stop_answer();
        let spoken = self.last_spoken.take();
        if let Some(spoken) = &spoken {
            self.cut_history(spoken);
        }
        // Where the client creates all responses, it also decides whether an answer goes on.
        let answers = self.settings.turn_detection.as_ref().is_some_and(|turns| turns.create_response);
        let goes_on = answers && self.config.interruption.resume;
        if let Some(parked) = goes_on.then(|| park(spoken, pending)).flatten() {
            count("parked");
            self.parked = Some(parked);
        }
    }

    /// Ends the answer that runs; gives what it was still to say, if it may go on, and whether it began to sound.
    fn stop_answer(&mut self) -> Option<(Pending, bool)> {
        let id = self.responses.in_conversation()?.response.id.clone();
        let running = self.responses.get_mut(&id)?;
        let (may_go_on, sounds) =
            (running.response.is_resumable(), running.response.playback().has_started());
        let pending = (running.response.settings.clone(), running.reply.take(), running.permit.take());
        self.end_response(&id, ResponseStatus::Interrupted);
        may_go_on.then_some((pending, sounds))
    }

    fn cut_history(&mut self, spoken: &Spoken) {
        let heard = spoken.playback.heard(Instant::now());
        if heard < spoken.playback.sent() {
            let heard_ms = whole_ms(heard);
            if let Err(error) = self.conversation.truncate(&spoken.item, heard_ms) {
                tracing::debug!(session = %self.id, %error, "an interrupted answer was not cut");
            }
        }
    }

    /// What an interrupting sound was understood as, at a pause in it. If that is nothing to answer, how finished it
    /// sounds; if it is meant, the answer is given up.
    pub(super) fn weigh_interruption(&mut self, text: &str) -> Option<Completeness> {
        if self.is_false_interruption(text) {
            return Some(Completeness::Complete);
        }
        if self.parked.take().is_some() {
            count("meant");
        }
        None
    }

    fn is_false_interruption(&mut self, text: &str) -> bool {
        let config = &self.config.interruption;
        let Some(parked) = &self.parked else { return false };
        let more = parked.reply.is_some() || parked.left_ms() >= BACKCHANNEL_EDGE_MS;
        let may_be_echo = match self.microphone {
            Microphone::Deaf => false,
            Microphone::HearsAnswers => true,
            Microphone::Unknown => more, // people do take up what they were told to its end
        };
        let known = self.microphone == Microphone::HearsAnswers;
        if config.echo_guard && may_be_echo && echo::repeats(text, &parked.sent.text(), known) {
            self.microphone = Microphone::HearsAnswers;
            return true;
        }
        is_nothing(text) || (more && is_backchannel(text, &config.backchannels))
    }

    /// A turn is over and its text known. If it was no interruption, the answer goes on, and the turn has none of its
    /// own. `ended`: when, if it would be answered.
    pub(super) fn take_back_interruption(&mut self, text: &str, ended: Option<Instant>) -> bool {
        if self.weigh_interruption(text).is_none() {
            return false;
        }
        let Some(ended) = ended else { return true }; // the person goes on; the answer stays parked
        let timeout = std::time::Duration::from_millis(self.config.interruption.resume_timeout_ms);
        match self.parked.take() {
            Some(parked) if ended.elapsed() <= timeout => self.go_on(parked),
            _ => count("expired"),
        }
        true
    }

    /// Says the rest of an interrupted answer, as a new response.
    fn go_on(&mut self, parked: Parked) {
        let (rest, settings, reply, permit) = parked.into_rest();
        if reply.is_none() && rest.audio.is_empty() {
            return; // it was heard to its end
        }
        count("resumed");
        let request = self.track(RequestKind::Response);
        let id = ResponseId::from(request.id().as_str());
        let timings = TurnTimings::default();
        let mut response =
            ActiveResponse::create(id.clone(), settings, &self.conversation_id, timings, &self.outbox);
        response.resume(rest, &mut Self::scene(&self.outbox, &mut self.conversation));
        let all_sent = reply.is_none();
        let wanted = ResponseRequest::default();
        self.responses.add(Running {
            response,
            reply,
            wanted,
            request,
            permit,
            turn_ended: None,
            held: false,
        });
        if all_sent {
            self.end_response(&id, ResponseStatus::Completed);
        }
    }
}

/// What may go on of an answer: audio that is not heard, a reply that is not sent, or both.
fn park(spoken: Option<Spoken>, pending: Option<(Pending, bool)>) -> Option<Parked> {
    let (pending, sounds) = pending.map_or((None, true), |(pending, sounds)| (Some(pending), sounds));
    // What still plays of the answer before one that has not begun to sound is not this one's.
    let spoken = spoken.filter(|spoken| spoken.resumable && sounds);
    let heard = |spoken: &Spoken| spoken.playback.heard(Instant::now()).as_millis();
    let heard_ms = spoken.as_ref().map_or(0, heard).try_into().unwrap_or(u64::MAX);
    let (reply_settings, reply, permit) = match pending {
        Some((settings, reply, permit)) => (Some(settings), reply, permit),
        None => (None, None, None),
    };
    let parked = match spoken {
        Some(Spoken { item, sent, timeline, settings, .. }) => {
            Parked { settings, item: Some(item), heard_ms, sent, timeline, reply, permit }
        }
        None => {
            let (sent, timeline) = Default::default();
            Parked { settings: reply_settings?, item: None, heard_ms, sent, timeline, reply, permit }
        }
    };
    (parked.reply.is_some() || parked.left_ms() > 0).then_some(parked)
}

/// How long ago the latest voice began, in milliseconds of audio.
fn voice_age_ms(frame: VoiceFrame) -> u64 {
    frame.end.saturating_sub(frame.onset) / SAMPLES_PER_MS
}

fn count(outcome: &'static str) {
    metrics::counter!(names::INTERRUPTIONS_TOTAL, "outcome" => outcome).increment(1);
}
