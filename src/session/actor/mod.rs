//! One session: an actor that owns all of its state and alone changes it.
//!
//! It takes in the client's commands, transcripts and the pieces of the running reply, and sends events. It
//! never waits for a send, so no circle of full queues can form; engines run elsewhere. Whatever arrives late
//! is told by its [`TurnKey`] and dropped.
//!
//! The rest is by subject: [`turns`] (audio and turns), [`partials`], [`translations`], [`speculation`],
//! [`interruption`], [`idle`], [`items`] (the conversation), [`responses`] and [`running`], [`limits`],
//! [`snapshot`], [`updates`].

mod idle;
mod interruption;
mod items;
mod limits;
mod partials;
mod responses;
mod running;
mod snapshot;
mod speculation;
mod translations;
mod turns;
mod updates;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::admission::FirstAudioMeter;
use super::callbacks::Outbox;
use super::command::{Action, SessionCommand};
use super::config::SessionConfig;
use super::conversation::Conversation;
use super::error::SessionError;
use super::event::{CloseReason, ResponseStatus, SessionEvent, SessionView, TurnTimings};
use super::factory::{SessionComponents, SessionSpec};
use super::health::SessionGauge;
use super::id::{ConversationId, RequestId, ResponseId, SessionId};
use super::interruption::Suspicion;
use super::interruption::echo::Microphone;
use super::interruption::parked::Parked;
use super::lifecycle::{RequestKind, RequestTracker, SessionRequests};
use super::live::{FeaturesConfig, LiveConfig, LiveSettings};
use super::metered;
use super::quota::{MemoryGuard, QuotaLimits, SessionQuota};
use super::response::{Scene, Spoken};
use super::settings::{Purpose, SessionSettings};
use super::size;
use super::speech_pipeline::Reply;
use super::turn::{TurnKey, TurnMachine};
use crate::telemetry::clock::unix_now;
use running::Responses;
pub(super) use snapshot::Keeping;
use turns::{Attempt, CommittedTurn};

/// Commands that wait for the session's task. A reader that fills it waits, and so does its client.
pub const COMMANDS_CAPACITY: usize = 64;

/// How often the task shows that it lives, at least.
const HEARTBEAT: Duration = Duration::from_secs(2);

/// How long a client may leave its events unread while it sends more. 10 s: longer than networks stall.
const UNREAD_GRACE: Duration = Duration::from_secs(10);

/// How long the last event may wait for a client that reads slowly.
const CLOSING_GRACE: Duration = Duration::from_secs(2);

/// What a session has of what the server keeps about it.
#[derive(Debug)]
pub(super) struct Shares {
    /// What it may take.
    pub(super) quota: SessionQuota,
    /// What it shows of itself.
    pub(super) gauge: Arc<SessionGauge>,
    /// Its requests.
    pub(super) requests: Arc<SessionRequests>,
    /// `session.health.stuck_s`, for the message.
    pub(super) stuck_s: u64,
    /// How it is kept to be resumed.
    pub(super) keeping: Keeping,
}

/// The actor of one session.
#[derive(Debug)]
pub(super) struct SessionActor {
    id: SessionId,
    conversation_id: ConversationId,
    config: Arc<SessionConfig>,
    features: FeaturesConfig,
    /// Tells when `config` or `features` change.
    live: watch::Receiver<LiveSettings>,
    /// Takes the latency of each answer; admission looks at all of them together.
    first_audio: FirstAudioMeter,
    settings: SessionSettings,
    outbox: Outbox,
    components: SessionComponents,
    turn: TurnMachine,
    conversation: Conversation,
    /// The item that the turn under way will become.
    open_item: Option<super::id::ItemId>,
    /// The attempt at ending the turn under way.
    attempt: Option<Attempt>,
    /// The answer of an attempt after which the person went on.
    spare: Option<speculation::Spare>,
    /// What is heard before the turn ends.
    hearing: partials::Hearing,
    /// What is translated.
    interpreting: translations::Interpreting,
    /// Turns that ended before they were transcribed.
    committed: BTreeMap<TurnKey, CommittedTurn>,
    responses: Responses,
    /// A turn ended while an answer ran that it did not interrupt; it is answered when that one is over.
    unanswered: Option<TurnTimings>,
    last_spoken: Option<Spoken>,
    /// A sound that may interrupt the answer that runs or plays.
    suspicion: Option<Suspicion>,
    /// The answer that was interrupted last, until it is known whether that was meant.
    parked: Option<Parked>,
    /// Whether the client's microphone hears the answers.
    microphone: Microphone,
    /// Since when nobody says anything; `None` before the first answer and while somebody does.
    silent_since: Option<Instant>,
    voice_locked: bool,
    expires: Instant,
    expires_at: u64,
    last_command: Instant,
    shares: Shares,
    memory_guard: MemoryGuard,
    settings_bytes: usize,
    /// Why the session is to end, once that is decided.
    ending: Option<CloseReason>,
}

/// A reply that was begun, and the request that it is.
#[derive(Debug)]
struct Begun {
    reply: Reply,
    request: RequestTracker,
}

impl SessionActor {
    pub(super) fn new(
        spec: &SessionSpec,
        components: SessionComponents,
        live: &LiveConfig,
        first_audio: FirstAudioMeter,
        shares: Shares,
    ) -> Self {
        let mut live = live.follow();
        let LiveSettings { config, features } = live.borrow_and_update().clone();
        let duration = Duration::from_secs(config.limits.max_session_s);
        let settings = spec.settings.clone();
        let now = Instant::now();
        Self {
            id: spec.id.clone(),
            conversation_id: ConversationId::random(),
            outbox: components.outbox.clone(),
            turn: TurnMachine::new(updates::policy(&settings, &config)),
            conversation: Conversation::new(config.limits.max_items),
            components,
            settings_bytes: size::settings(&settings),
            settings,
            open_item: None,
            attempt: None,
            spare: None,
            hearing: partials::Hearing::default(),
            interpreting: translations::Interpreting::new(&spec.settings.translate_to),
            committed: BTreeMap::new(),
            responses: Responses::default(),
            unanswered: None,
            last_spoken: None,
            suspicion: None,
            parked: None,
            microphone: Microphone::default(),
            silent_since: None,
            voice_locked: false,
            expires: now + duration,
            expires_at: (unix_now() + duration).as_secs(),
            last_command: now,
            config,
            features,
            live,
            first_audio,
            shares,
            memory_guard: MemoryGuard::default(),
            ending: None,
        }
    }

    /// Runs the session to its end and tells the client why it ended.
    pub(super) async fn run(
        mut self,
        mut commands: metered::Receiver<SessionCommand>,
        shutdown: CancellationToken,
    ) -> CloseReason {
        self.begin();
        let reason = self.serve(&mut commands, &shutdown).await;
        if reason == CloseReason::Shutdown {
            self.finish_answer().await;
        }
        self.keep_last_answer();
        for id in self.responses.ids() {
            self.end_response(&id, ResponseStatus::Cancelled);
        }
        drop(commands); // a reader that waits to send must not wait for a client that does not read
        let (why, outbox) = (self.end_error(reason), self.outbox.clone());
        let last = async {
            if let Some(why) = why {
                outbox.send_last(why).await;
            }
            outbox.send_last(SessionEvent::Closing(reason)).await;
        };
        // A socket that resumes the session waits for its end; the old one is nearly always dead.
        let grace = if reason == CloseReason::TakenOver { Duration::ZERO } else { CLOSING_GRACE };
        if tokio::time::timeout(grace, last).await.is_err() {
            tracing::debug!(session = %self.id, "the client did not read to the end");
        }
        self.leave_off(reason).await;
        reason
    }

    async fn serve(
        &mut self,
        commands: &mut metered::Receiver<SessionCommand>,
        shutdown: &CancellationToken,
    ) -> CloseReason {
        let mut unread_since = None;
        let takeover = self.shares.keeping.takeover.clone();
        loop {
            unread_since = (!self.outbox.has_room()).then(|| unread_since.unwrap_or_else(Instant::now));
            let max_ahead = Duration::from_millis(self.config.playback.max_ahead_ms);
            let idle_at = self.last_command + Duration::from_secs(self.config.limits.idle_s);
            let beat_at = Instant::now() + HEARTBEAT;
            let idle_timeout_at = self.idle_timeout_at();
            let is_looking = self.components.input.is_looking();
            tokio::select! {
                () = shutdown.cancelled() => return CloseReason::Shutdown,
                () = takeover.cancelled() => return CloseReason::TakenOver,
                () = self.components.input.judged(), if is_looking => self.follow_frames(),
                // What is said after the audio counts after it.
                command = commands.recv(), if unread_since.is_none() && !is_looking => match command {
                    Some(command) => self.on_command(command),
                    None => return CloseReason::ClientGone,
                },
                Ok(()) = self.live.changed() => self.follow_settings(),
                Some(event) = self.components.transcripts.recv() => self.on_transcript(event),
                Some(event) = self.components.translations.recv() => self.on_translation(event),
                (id, piece) = self.responses.next(max_ahead), if unread_since.is_none() => {
                    self.on_piece(&id, piece);
                }
                () = idle::reached(idle_timeout_at) => self.speak_up(),
                () = sleep_until(idle_at) => return CloseReason::Idle,
                () = sleep_until(self.expires) => return CloseReason::Expired,
                () = self.outbox.room(), if unread_since.is_some() => {}
                () = sleep_until(unread_since.unwrap_or(beat_at) + UNREAD_GRACE), if unread_since.is_some() => {
                    return CloseReason::SlowClient;
                }
                () = sleep_until(beat_at) => {}
            }
            self.look_after();
            self.keep_snapshot();
            if self.outbox.overflowed() {
                return CloseReason::SlowClient;
            }
            if self.outbox.is_closed() {
                return CloseReason::ClientGone;
            }
            if let Some(reason) = self.ending {
                return reason;
            }
        }
    }

    /// At shutdown: lets the answers that run come to their ends, within the grace.
    async fn finish_answer(&mut self) {
        let until = Instant::now() + Duration::from_millis(self.config.limits.drain_ms);
        let max_ahead = Duration::from_millis(self.config.playback.max_ahead_ms);
        while self.responses.iter().any(|running| running.reply.is_some()) {
            tokio::select! {
                (id, piece) = self.responses.next(max_ahead) => self.on_piece(&id, piece),
                () = sleep_until(until) => return,
            }
        }
    }

    fn on_command(&mut self, command: SessionCommand) {
        let SessionCommand { client_event_id, action } = command;
        let (sideband, action) = match action {
            Action::OfSideband(id, action) => (Some(id), *action),
            action => (None, action),
        };
        if action.is_of_client() {
            self.last_command = Instant::now();
            if sideband.is_none() {
                self.shares.gauge.heard(self.last_command);
            }
        }
        let done = self.make_room(&action).and_then(|()| self.on_action(action));
        if let Err(error) = done {
            let event = SessionEvent::Error { error, client_event_id };
            match sideband {
                Some(id) => self.outbox.taps().tell_one(id, event),
                None => self.outbox.send_to_client(event),
            }
        }
    }

    fn on_action(&mut self, action: Action) -> Result<(), SessionError> {
        if self.settings.purpose == Purpose::Transcription && matches!(action, Action::CreateResponse(_)) {
            return Err(SessionError::TranscribesOnly);
        }
        match action {
            Action::Update(patch) => self.update(*patch),
            Action::AppendAudio(bytes) => self.append_audio(&bytes),
            Action::CommitAudio => self.commit_audio(),
            Action::ClearAudio => {
                self.clear_audio();
                Ok(())
            }
            Action::CreateItem { previous, item } => self.create_item(&previous, item),
            Action::RetrieveItem(item) => self.retrieve_item(&item),
            Action::TruncateItem { item, audio_end_ms } => self.truncate_item(item, audio_end_ms),
            Action::DeleteItem(item) => self.delete_item(item),
            Action::CreateResponse(request) => self.create_response(*request),
            Action::CancelResponse(id) => self.cancel_response(id),
            Action::CancelRequest(id) => {
                self.cancel_request(&id);
                Ok(())
            }
            Action::End(reason) => {
                self.ending = Some(reason);
                Ok(())
            }
            Action::Attach(id) => {
                let view = Box::new(self.view());
                self.outbox.taps().attach(id, SessionEvent::Created(view));
                Ok(())
            }
            // Taken apart where it came in.
            Action::OfSideband(_, action) => self.on_action(*action),
            Action::ConfirmResumed => {
                self.shares.keeping.confirm();
                Ok(())
            }
            Action::Reject(error) => Err(error),
        }
    }

    /// The limits as they are now.
    fn limits(&self) -> Arc<QuotaLimits> {
        self.shares.quota.limits()
    }

    /// Follows a new request. A response's is known by the id that the response will have.
    fn track(&self, kind: RequestKind) -> RequestTracker {
        let id = match kind {
            RequestKind::Response => RequestId::from(ResponseId::random().as_str()),
            RequestKind::Transcription
            | RequestKind::Speech
            | RequestKind::Translation
            | RequestKind::Completion => RequestId::random(),
        };
        self.shares.requests.track(id, kind)
    }

    fn view(&self) -> SessionView {
        let (id, settings) = (self.id.clone(), self.settings.clone());
        SessionView { id, expires_at: self.expires_at, settings, resume: None }
    }

    /// What a response writes to; borrows nothing of the response itself.
    fn scene<'a>(outbox: &'a Outbox, conversation: &'a mut Conversation) -> Scene<'a> {
        Scene { outbox, conversation, now: Instant::now() }
    }
}
