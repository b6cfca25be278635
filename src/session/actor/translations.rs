//! Translations of what is said: of the words that are sure while the person speaks, then of the whole.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::SessionActor;
use crate::pool::{CallObserver, Degradation, WorkClass};
use crate::session::error::SessionError;
use crate::session::event::SessionEvent;
use crate::session::id::{ItemId, RequestId};
use crate::session::lifecycle::{RequestKind, RequestTracker};
use crate::session::settings::SettingsPatch;
use crate::session::speech_pipeline::EngineTime;
use crate::session::translation::{
    InOrder, Language, Newest, Source, Translation, TranslationEvent, TranslationJob, TranslationNotice,
    TranslationRequest,
};
use crate::telemetry::metrics as names;

/// Whole utterances that wait for their translation into one language; one more fails at once.
const FINALS_CAPACITY: usize = 32;

/// The languages that a session translates into.
#[derive(Debug, Default)]
pub(super) struct Interpreting {
    lines: Vec<Line>,
    /// Names translations.
    count: u64,
    /// Counts the texts of the utterance under way that were sure.
    revision: u32,
}

/// One language.
#[derive(Debug)]
struct Line {
    language: Language,
    finals: BTreeMap<u64, Final>,
    order: InOrder<Result<Arc<str>, SessionError>>,
    newest: Newest,
    partial: Option<Partial>,
}

/// A whole utterance.
#[derive(Debug)]
struct Final {
    item: ItemId,
    source: Arc<str>,
    tracker: Option<RequestTracker>,
    /// Held while it is under way.
    job: Option<TranslationJob>,
}

/// A translation of an utterance that is not over.
#[derive(Debug)]
struct Partial {
    number: u64,
    revision: u32,
    item: ItemId,
    source: Arc<str>,
    _job: TranslationJob,
}

impl Interpreting {
    pub(super) fn new(languages: &[Language]) -> Self {
        let mut this = Self::default();
        this.set_languages(languages);
        this
    }

    /// Translates into these from now on. Those that stay lose nothing; what others wait for is given up.
    pub(super) fn set_languages(&mut self, languages: &[Language]) {
        let mut before = std::mem::take(&mut self.lines);
        for language in languages {
            if self.lines.iter().any(|line| line.language == *language) {
                continue; // named twice
            }
            let place = before.iter().position(|line| line.language == *language);
            self.lines.push(place.map_or_else(|| Line::new(*language), |place| before.swap_remove(place)));
        }
    }

    /// The utterance under way has more words that are sure.
    pub(super) fn grow(&mut self, text: &str) {
        self.revision += 1;
        self.lines.iter_mut().for_each(|line| line.newest.want(text));
    }

    /// The utterance is over: nothing partial is told of it any more.
    pub(super) fn end_utterance(&mut self) {
        self.revision = 0;
        for line in &mut self.lines {
            line.partial = None;
            line.newest.finish();
        }
    }

    /// Bytes of the texts that wait.
    pub(super) fn bytes(&self) -> usize {
        let waiting = self.lines.iter().flat_map(|line| line.finals.values());
        waiting.map(|waiting| size_of::<Final>() + waiting.source.len()).sum()
    }

    fn next_number(&mut self) -> u64 {
        self.count += 1;
        self.count
    }
}

impl Line {
    fn new(language: Language) -> Self {
        let (finals, order, newest) = (BTreeMap::new(), InOrder::default(), Newest::default());
        Self { language, finals, order, newest, partial: None }
    }

    /// A translation of a whole utterance ended; gives what may be told now.
    fn end(&mut self, number: u64, result: Result<Arc<str>, SessionError>) -> Vec<TranslationNotice> {
        let ready = self.order.end(number, result);
        let told =
            ready.into_iter().filter_map(|(number, result)| Some((self.finals.remove(&number)?, result)));
        let notice = |(Final { item, source, .. }, result): (Final, Result<Arc<str>, SessionError>)| {
            let translation = match result {
                Ok(text) => Translation::Completed { source: source.to_string(), text: text.to_string() },
                Err(error) => Translation::Failed(error),
            };
            (item, translation)
        };
        let language = self.language;
        let told: Vec<_> = told.map(notice).collect();
        told.into_iter()
            .map(|(item, translation)| TranslationNotice { item, language, translation })
            .collect()
    }
}

impl SessionActor {
    pub(super) fn check_languages(&self, patch: &SettingsPatch) -> Result<(), SessionError> {
        let (limit, wanted) = (self.config.translation.max_targets, patch.translate_to.as_deref());
        match wanted.map_or(0, <[Language]>::len) {
            wanted if wanted > limit => Err(SessionError::TooManyLanguages { limit, wanted }),
            _ => Ok(()),
        }
    }

    /// Translates what is sure of the utterance under way, where that is due.
    pub(super) fn translate_partials(&mut self) {
        let degradation = self.components.pipeline.degradation();
        let Some(item) = self.open_item.clone() else { return };
        if degradation >= Degradation::NoPartials {
            return;
        }
        let pressed = if degradation >= Degradation::FewerPartials { 2 } else { 1 };
        let interval = Duration::from_millis(self.config.translation.interval_ms) * pressed;
        for index in 0..self.interpreting.lines.len() {
            let line = &mut self.interpreting.lines[index];
            let Some(text) = line.newest.take_due(interval, Instant::now()) else { continue };
            let (language, number) = (line.language, self.interpreting.next_number());
            let source: Arc<str> = text.into();
            let observer = Box::new(EngineTime::new(Arc::clone(&self.shares.gauge)));
            let class = self.partial_class();
            let job = self.ask(number, (language, &source), class, (observer, None));
            let (item, revision) = (item.clone(), self.interpreting.revision);
            self.interpreting.lines[index].partial =
                Some(Partial { number, revision, item, source, _job: job });
        }
    }

    /// Translates a whole utterance into every language.
    pub(super) fn translate_final(&mut self, item: &ItemId, text: &str) {
        let source: Arc<str> = text.into();
        for index in 0..self.interpreting.lines.len() {
            let number = self.interpreting.next_number();
            let line = &mut self.interpreting.lines[index];
            let (language, waiting) = (line.language, line.order.len());
            line.order.begin(number);
            let at_once = if source.is_empty() {
                Some(Ok(Arc::from(""))) // a noise: nothing to translate
            } else {
                (waiting >= FINALS_CAPACITY)
                    .then_some(Err(SessionError::TranslationsWaiting { limit: FINALS_CAPACITY }))
            };
            let (tracker, job) = if at_once.is_some() {
                (None, None)
            } else {
                let tracker = self.track(RequestKind::Translation);
                let class = self.final_class();
                let observer = Box::new(tracker.clone());
                let job = self.ask(number, (language, &source), class, (observer, Some(tracker.clone())));
                (Some(tracker), Some(job))
            };
            let waiting = Final { item: item.clone(), source: Arc::clone(&source), tracker, job };
            self.interpreting.lines[index].finals.insert(number, waiting);
            if let Some(result) = at_once {
                self.end_translation(index, number, result);
            }
        }
    }

    fn ask(
        &self,
        number: u64,
        (language, text): (Language, &Arc<str>),
        class: WorkClass,
        (observer, tracker): (Box<dyn CallObserver>, Option<RequestTracker>),
    ) -> TranslationJob {
        let instructions = self.config.translation.instructions_for(language).into();
        self.components.translator.translate(TranslationRequest {
            number,
            source: Source { instructions, text: Arc::clone(text) },
            class,
            observer,
            tracker,
            cache_bytes: self.config.translation.cache_bytes,
        })
    }

    /// A translation ended. One that was given up meanwhile is known to nobody.
    pub(super) fn on_translation(&mut self, event: TranslationEvent) {
        let TranslationEvent { number, result } = event;
        let lines = self.interpreting.lines.iter();
        let holds = |line: &Line| line.finals.contains_key(&number);
        let of_partial = |line: &Line| line.partial.as_ref().is_some_and(|partial| partial.number == number);
        match lines.clone().position(holds) {
            Some(index) => self.end_translation(index, number, result),
            None => match lines.clone().position(of_partial) {
                Some(index) => self.end_partial(index, result),
                None => tracing::debug!(session = %self.id, "dropped a stale translation"),
            },
        }
    }

    fn end_translation(&mut self, index: usize, number: u64, result: Result<Arc<str>, SessionError>) {
        let outcome = if result.is_ok() { "completed" } else { "failed" };
        metrics::counter!(names::TRANSLATIONS_TOTAL, "outcome" => outcome).increment(1);
        if let Err(error) = &result {
            tracing::warn!(session = %self.id, %error, "a turn could not be translated");
        }
        for notice in self.interpreting.lines[index].end(number, result) {
            self.outbox.send(SessionEvent::Translation(Box::new(notice)));
        }
    }

    fn end_partial(&mut self, index: usize, result: Result<Arc<str>, SessionError>) {
        let line = &mut self.interpreting.lines[index];
        line.newest.end();
        let Some(Partial { revision, item, source, .. }) = line.partial.take() else { return };
        match result {
            Ok(text) => {
                metrics::counter!(names::TRANSLATIONS_TOTAL, "outcome" => "partial").increment(1);
                let (source, text) = (source.to_string(), text.to_string());
                let translation = Translation::Partial { revision, source, text };
                let notice = TranslationNotice { item, language: line.language, translation };
                self.outbox.send(SessionEvent::Translation(Box::new(notice)));
            }
            // The whole will be translated anyway, and its failure told.
            Err(error) => tracing::debug!(session = %self.id, %error, "a partial translation failed"),
        }
        self.translate_partials();
    }

    /// Gives up the translation of this id; false if there is none.
    pub(super) fn cancel_translation(&mut self, id: &RequestId) -> bool {
        let is = |waiting: &Final| waiting.tracker.as_ref().is_some_and(|tracker| tracker.id() == id);
        let lines = self.interpreting.lines.iter().enumerate();
        let found =
            lines.flat_map(|(index, line)| line.finals.iter().map(move |(number, it)| (index, *number, it)));
        let Some((index, number)) =
            found.into_iter().find(|(_, _, it)| is(it)).map(|(index, number, _)| (index, number))
        else {
            return false;
        };
        if let Some(waiting) = self.interpreting.lines[index].finals.get_mut(&number) {
            (waiting.tracker, waiting.job) = (None, None);
        }
        self.end_translation(index, number, Err(SessionError::RequestCancelled));
        true
    }

    fn final_class(&self) -> WorkClass {
        if self.config.translation.partials_first { WorkClass::Background } else { WorkClass::Continuation }
    }

    fn partial_class(&self) -> WorkClass {
        if self.config.translation.partials_first { WorkClass::Continuation } else { WorkClass::Background }
    }
}
