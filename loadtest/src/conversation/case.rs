//! The scenes. Pure data: who makes which sound when, and what a good server does. What is said stays inside the
//! vocabulary of the starter models.

use std::time::Duration;

/// One scene.
#[derive(Debug)]
pub(crate) struct Case {
    pub(crate) name: &'static str,
    /// What the table gathers it under.
    pub(crate) group: &'static str,
    pub(crate) cues: &'static [Cue],
    pub(crate) expect: Expect,
    /// Whether the short set has it.
    pub(crate) short: bool,
    /// It cannot be told from a finished turn without hearing the melody of the voice: counted, but no failure.
    pub(crate) hard: bool,
    /// The microphone hears the loudspeaker.
    pub(crate) echo: bool,
}

/// Something that the microphone hears at once.
#[derive(Debug)]
pub(crate) struct Cue {
    pub(crate) when: When,
    pub(crate) sounds: &'static [Sound],
}

/// When a cue begins.
#[derive(Clone, Copy, Debug)]
pub(crate) enum When {
    /// After a moment of silence.
    Opening,
    /// So many milliseconds after the running answer became audible.
    IntoAnswer(u64),
}

/// One sound of a cue.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Sound {
    Says(&'static str),
    /// Silence of so many milliseconds.
    Pause(u64),
    Noise(Noise),
}

/// A sound that is no speech.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Noise {
    /// A click of white noise, 60 ms.
    Click,
    /// A burst of white noise, 250 ms.
    White,
    /// A burst of pink noise, 600 ms.
    Pink,
    /// A door: a low thump that rings out.
    Door,
    /// Two hoarse bursts, as a cough has them.
    Cough,
}

/// What a good server does.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Expect {
    /// Answers the last cue, all of it together, after its end. The answer holds `words`.
    Answer { words: &'static str },
    /// Does not answer.
    Silence,
    /// Goes on with its answer, at once or after a short stop, to its end: `tail`.
    Continue { tail: &'static str },
    /// Stops its answer for the second cue and answers that; the answer holds `words`.
    Interrupt { words: &'static str },
}

/// After this much silence an answer to a whole sentence is late: what OpenAI's own waits by default, twice.
pub(crate) const LATE: Duration = Duration::from_millis(1_500);
/// An interruption that the server does not believe for so long is late.
pub(crate) const DEAF: Duration = Duration::from_millis(700);

use Expect::{Answer, Continue, Interrupt, Silence};
use Noise::{Click, Cough, Door, Pink, White};
use Sound::{Noise as N, Pause, Says};

const STORY_END: &str = "never lonely again";

const fn opening(sounds: &'static [Sound]) -> Cue {
    Cue { when: When::Opening, sounds }
}

const fn into_answer(ms: u64, sounds: &'static [Sound]) -> Cue {
    Cue { when: When::IntoAnswer(ms), sounds }
}

const fn scene(group: &'static str, name: &'static str, cues: &'static [Cue], expect: Expect) -> Case {
    Case { name, group, cues, expect, short: false, hard: false, echo: false }
}

impl Case {
    const fn short(mut self) -> Self {
        self.short = true;
        self
    }

    const fn hard(mut self) -> Self {
        self.hard = true;
        self
    }

    const fn echo(mut self) -> Self {
        self.echo = true;
        self
    }
}

const STORY: Cue = opening(&[Says("Tell me a story.")]);

/// The set.
pub(crate) const CASES: &[Case] = &[
    scene("question", "joke", &[opening(&[Says("Tell me a joke.")])], Answer { words: "clock" }).short(),
    scene("question", "robot", &[opening(&[Says("Are you a robot?")])], Answer { words: "computer" }),
    scene("question", "how are you", &[opening(&[Says("How are you?")])], Answer { words: "fine" }),
    scene("quick reply", "yes", &[opening(&[Says("Yes.")])], Answer { words: "" }).short(),
    scene("quick reply", "no", &[opening(&[Says("No.")])], Answer { words: "" }),
    scene(
        "hesitation",
        "my name is … Anna",
        &[opening(&[Says("My name is,"), Pause(700), Says("Anna.")])],
        Answer { words: "Anna" },
    )
    .short(),
    scene(
        "hesitation",
        "a large … coffee",
        &[opening(&[Says("I would like a large,"), Pause(600), Says("coffee please.")])],
        Answer { words: "" },
    )
    .hard(),
    scene(
        "hesitation",
        "um … where do you live",
        &[opening(&[Says("Um,"), Pause(500), Says("where do you live?")])],
        Answer { words: "" },
    ),
    scene(
        "self-correction",
        "Peter, no, Thomas",
        &[opening(&[Says("My name is Peter,"), Pause(300), Says("no, my name is Thomas.")])],
        Answer { words: "Thomas" },
    )
    .hard()
    .short(),
    scene(
        "self-correction",
        "Rome, sorry, Oslo",
        &[opening(&[Says("I live in Rome,"), Pause(350), Says("sorry, I live in Oslo.")])],
        Answer { words: "" },
    )
    .hard(),
    scene(
        "long pause",
        "I live in … Oslo",
        &[opening(&[Says("I live in,"), Pause(1_000), Says("Oslo.")])],
        Answer { words: "Oslo" },
    )
    .short(),
    scene(
        "long pause",
        "tell me … a joke",
        &[opening(&[Says("Please tell me a,"), Pause(900), Says("joke.")])],
        Answer { words: "clock" },
    ),
    scene(
        "backchannel",
        "okay",
        &[STORY, into_answer(1_500, &[Says("Okay.")])],
        Continue { tail: STORY_END },
    )
    .short(),
    scene(
        "backchannel",
        "yeah",
        &[STORY, into_answer(2_500, &[Says("Yeah.")])],
        Continue { tail: STORY_END },
    ),
    scene(
        "backchannel",
        "mm-hm",
        &[STORY, into_answer(2_000, &[Says("[[mhm]]")])],
        Continue { tail: STORY_END },
    ),
    scene(
        "barge-in",
        "early: stop",
        &[STORY, into_answer(400, &[Says("Please stop.")])],
        Interrupt { words: "quiet" },
    )
    .short(),
    scene(
        "barge-in",
        "early: question",
        &[STORY, into_answer(600, &[Says("Are you a robot?")])],
        Interrupt { words: "computer" },
    ),
    scene(
        "barge-in",
        "late: question",
        &[STORY, into_answer(6_000, &[Says("What can you do?")])],
        Interrupt { words: "remember" },
    )
    .short(),
    scene(
        "barge-in",
        "late: wait",
        &[STORY, into_answer(4_000, &[Says("Wait a minute.")])],
        Interrupt { words: "time" },
    ),
    scene("noise in silence", "white 250 ms", &[opening(&[N(White)])], Silence),
    scene("noise in silence", "door", &[opening(&[N(Door)])], Silence).short(),
    scene("noise in silence", "cough", &[opening(&[N(Cough)])], Silence),
    scene(
        "noise in an answer",
        "click",
        &[STORY, into_answer(1_500, &[N(Click)])],
        Continue { tail: STORY_END },
    ),
    scene(
        "noise in an answer",
        "white 250 ms",
        &[STORY, into_answer(1_500, &[N(White)])],
        Continue { tail: STORY_END },
    ),
    scene(
        "noise in an answer",
        "pink 600 ms",
        &[STORY, into_answer(2_000, &[N(Pink)])],
        Continue { tail: STORY_END },
    ),
    scene(
        "noise in an answer",
        "door",
        &[STORY, into_answer(1_500, &[N(Door)])],
        Continue { tail: STORY_END },
    ),
    scene(
        "noise in an answer",
        "cough",
        &[STORY, into_answer(2_000, &[N(Cough)])],
        Continue { tail: STORY_END },
    )
    .short(),
    scene("echo", "story without echo cancelling", &[STORY], Continue { tail: STORY_END }).echo().short(),
];

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_scene_has_a_name_of_its_own_and_every_group_a_short_one() {
        let names: BTreeSet<_> = CASES.iter().map(|case| (case.group, case.name)).collect();
        assert_eq!(names.len(), CASES.len());
        let groups: BTreeSet<_> = CASES.iter().map(|case| case.group).collect();
        let short: BTreeSet<_> = CASES.iter().filter(|case| case.short).map(|case| case.group).collect();
        assert_eq!(short, groups);
    }
}
