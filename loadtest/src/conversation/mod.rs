//! The conversation test set: small scenes of talk that voice servers get wrong (hesitation, noise, "mm-hm" into an
//! answer, interruption, echo), each played to the server at the pace of speech and judged. Pure parts: `case` (the
//! scenes), `sound` (what is heard in them), `speaker` (what the person hears), `verdict` (the judgement), `table`.
//! `scene` and this file are the shells. Read `case`, then `verdict`.

mod case;
mod scene;
mod sound;
mod speaker;
mod table;
mod verdict;

use std::sync::Arc;

use antiphon::audio::AudioFormat;
use anyhow::Context as _;
use futures::{StreamExt as _, stream};

use crate::args::Args;
use crate::conversation::case::{CASES, Case, Sound};
use crate::conversation::scene::Stage;
use crate::voice::{Synthesiser, Voice};

pub(crate) use table::ConversationReport;

/// Voices that each scene is played in, of those that users of a load test have.
const VOICES: [usize; 3] = [0, 1, 2];

/// Plays the scenes that `args` name and judges them.
pub(crate) async fn run(args: Args) -> anyhow::Result<ConversationReport> {
    let whole = args.conversation == Some(crate::args::ConversationSet::Full);
    let wanted = |case: &&Case| {
        let named = args.only.is_empty() || args.only.iter().any(|name| case.name.contains(name.as_str()));
        named && (whole || case.short)
    };
    let cases: Vec<&Case> = CASES.iter().filter(wanted).collect();
    let voices = if whole { &VOICES[..] } else { &VOICES[..1] };
    let synthesiser = Synthesiser::new(args.cache_dir.clone(), AudioFormat::from(args.format))?;
    rehearse(&synthesiser, &cases, voices).await?;
    let (at_once, verbose) = (args.users as usize, args.verbose);
    let stage = Arc::new(Stage::new(args, synthesiser));
    let scenes = cases.iter().flat_map(|case| voices.iter().map(move |voice| (*case, *voice)));
    let mut playing = stream::iter(scenes.map(|(case, voice)| {
        let stage = Arc::clone(&stage);
        async move { stage.play(case, Voice::of(voice), voice).await }
    }))
    .buffered(at_once);
    let mut outcomes = Vec::new();
    while let Some(outcome) = playing.next().await {
        let outcome = outcome?;
        if verbose {
            // Nobody to read the lines is no reason to stop.
            drop(std::io::Write::write_all(&mut std::io::stdout(), format!("{outcome}\n").as_bytes()));
        }
        outcomes.push(outcome);
    }
    Ok(ConversationReport::of(outcomes))
}

/// Makes the speech beforehand, so that espeak-ng takes no time from the server.
async fn rehearse(synthesiser: &Synthesiser, cases: &[&Case], voices: &[usize]) -> anyhow::Result<()> {
    for case in cases {
        for cue in case.cues {
            for sound in cue.sounds {
                let Sound::Says(text) = sound else { continue };
                for voice in voices {
                    synthesiser.prepare(Voice::of(*voice), text).await.context(case.name)?;
                }
            }
        }
    }
    Ok(())
}
