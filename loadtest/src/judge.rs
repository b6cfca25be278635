//! Whether sessions saw each other, from all that was recorded. Pure.

use std::collections::HashMap;

use serde::Serialize;

use crate::record::{Place, Suspect, TurnRecord, UserRecord};
use crate::words::{holds, normalise};

/// A misheard word counts as another's if that user said the same words within this time.
const SAME_TIME_S: f64 = 30.0;

/// What of the sessions got into each other.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Verdict {
    /// One line each.
    pub(crate) cross_talk: Vec<String>,
    /// Values of others in transcripts that are plain recognition errors.
    pub(crate) misheard: usize,
    /// Values of others in answers before their owners told them: made up, not leaked.
    pub(crate) invented: usize,
}

/// Looks through all turns and users.
pub(crate) fn judge(turns: &[TurnRecord], users: &[UserRecord]) -> Verdict {
    let mut verdict = Verdict::default();
    let said = Said::new(turns);
    for turn in turns {
        for suspect in &turn.suspects {
            match said.try_suspect(turn, suspect) {
                Finding::CrossTalk => verdict.cross_talk.push(describe(turn, suspect)),
                Finding::Misheard => verdict.misheard += 1,
                Finding::Invented => verdict.invented += 1,
            }
        }
        let user = turn.user;
        verdict.cross_talk.extend(turn.faults.iter().map(|fault| format!("user {user}: {fault}")));
    }
    verdict.cross_talk.extend(shared_ids(users));
    verdict
}

fn describe(turn: &TurnRecord, suspect: &Suspect) -> String {
    let (place, text) = match suspect.place {
        Place::Transcript => ("transcript", &turn.heard),
        Place::Answer => ("answer", &turn.answer),
    };
    let (value, owner) = (&suspect.foreign.value, suspect.foreign.owner);
    format!("user {} said {:?}; its {place} {text:?} holds {value:?} of user {owner}", turn.user, turn.said)
}

enum Finding {
    CrossTalk,
    Misheard,
    Invented,
}

/// Who said what, and when.
struct Said {
    by_user: HashMap<usize, Vec<(f64, Vec<String>)>>,
}

impl Said {
    fn new(turns: &[TurnRecord]) -> Self {
        let mut by_user: HashMap<_, Vec<_>> = HashMap::new();
        for turn in turns {
            by_user.entry(turn.user).or_default().push((turn.began_s, normalise(&turn.said)));
        }
        Self { by_user }
    }

    fn try_suspect(&self, turn: &TurnRecord, suspect: &Suspect) -> Finding {
        let owner = self.by_user.get(&suspect.foreign.owner).map_or(&[][..], Vec::as_slice);
        let value = normalise(&suspect.foreign.value);
        let told = owner.iter().any(|(at, words)| *at < turn.ended_s && holds(words, &value));
        if !told {
            return Finding::Invented;
        }
        let heard = normalise(&turn.heard);
        let near = |at: f64| (at - turn.began_s).abs() < SAME_TIME_S;
        let same = owner.iter().any(|(at, words)| near(*at) && *words == heard);
        if suspect.misheard && !same { Finding::Misheard } else { Finding::CrossTalk }
    }
}

/// Ids that two users were told: items, responses or sessions of one reached the other.
fn shared_ids(users: &[UserRecord]) -> Vec<String> {
    let mut first: HashMap<&str, usize> = HashMap::new();
    let mut shared = Vec::new();
    for user in users {
        for id in user.ids.iter().chain(&user.session) {
            let owner = *first.entry(id).or_insert(user.user);
            if owner != user.user {
                shared.push(format!("users {owner} and {} both saw {id}", user.user));
            }
        }
    }
    shared
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::TurnKind;
    use crate::record::tests::scored;

    /// User 1 tells of Rome at 5 s.
    fn owner_told(at: f64) -> TurnRecord {
        let mut told = scored(TurnKind::Statement, "I live in Rome.", "i live in rome", "Nice.");
        (told.user, told.began_s, told.suspects) = (1, at, Vec::new());
        told
    }

    #[test]
    fn a_leaked_answer_is_cross_talk_and_an_invented_one_is_not() {
        let answer = scored(TurnKind::Question, "Where do I live?", "where do i live", "You live in Rome.");
        let verdict = judge(&[owner_told(5.0), answer.clone()], &[]);
        assert_eq!(verdict.cross_talk.len(), 1, "{verdict:?}");
        assert!(verdict.cross_talk[0].contains("\"rome\" of user 1"), "{verdict:?}");
        let verdict = judge(&[owner_told(50.0), answer], &[]);
        assert_eq!((verdict.cross_talk.len(), verdict.invented), (0, 1));
    }

    #[test]
    fn a_misheard_word_is_cross_talk_only_if_its_owner_spoke_the_sentence() {
        let misheard = scored(TurnKind::Statement, "I live in Oslo.", "i live in rome", "Fine.");
        assert_eq!(judge(&[owner_told(5.0), misheard.clone()], &[]).cross_talk.len(), 1);
        let mut other_words = owner_told(5.0);
        other_words.said = "My home is in Rome.".into();
        let verdict = judge(&[other_words, misheard], &[]);
        assert_eq!((verdict.cross_talk.len(), verdict.misheard), (0, 1));
    }

    #[test]
    fn ids_belong_to_one_session() {
        let user = |user, id: &str| UserRecord { user, ids: [id.to_owned()].into(), ..UserRecord::default() };
        assert!(judge(&[], &[user(0, "a"), user(1, "b")]).cross_talk.is_empty());
        assert_eq!(judge(&[], &[user(0, "a"), user(1, "a")]).cross_talk, ["users 0 and 1 both saw a"]);
    }

    #[test]
    fn impossible_events_are_cross_talk() {
        let mut turn = owner_told(1.0);
        turn.faults.push("response.done of r9, which this session never had".into());
        assert_eq!(judge(&[turn], &[]).cross_talk.len(), 1);
    }
}
