//! What one user says next, with its sound.

use std::sync::Arc;

use rand::Rng;
use rand::rngs::StdRng;

use crate::plan::{Planner, Turn, TurnKind};
use crate::voice::{Recording, Synthesiser, Voice};

/// The talk of one user.
#[derive(Debug)]
pub(crate) enum Script {
    /// Made from the scenario and spoken by espeak-ng.
    Spoken { planner: Planner, voice: Voice, synthesiser: Synthesiser },
    /// Made from the scenario and typed.
    Typed(Planner),
    /// Recordings, in random order.
    Recorded { recordings: Arc<[Recording]>, rng: StdRng },
}

impl Script {
    /// The next turn and its speech, which is empty if it is typed.
    pub(crate) async fn next_turn(&mut self) -> anyhow::Result<(Turn, Arc<[i16]>)> {
        match self {
            Self::Spoken { planner, voice, synthesiser } => {
                let turn = planner.next_turn();
                let speech = synthesiser.speak(*voice, &turn.text).await?;
                Ok((turn, speech))
            }
            Self::Typed(planner) => Ok((planner.next_turn(), Arc::new([]))),
            Self::Recorded { recordings, rng } => {
                let Recording { text, speech } = recordings[rng.random_range(0..recordings.len())].clone();
                let turn = Turn { kind: TurnKind::Recording, text, expect: Vec::new(), barge_in: false };
                Ok((turn, speech))
            }
        }
    }
}
