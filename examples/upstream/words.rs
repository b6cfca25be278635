//! Words that are tones: how they sound, and how they are understood. Pure.

/// Length of a word.
pub(crate) const WORD_MS: u32 = 250;
/// What a client sends.
pub(crate) const RATE: u32 = 24_000;

const WORDS: [&str; 20] = [
    "morning", "river", "seven", "garden", "always", "winter", "yellow", "mother", "question", "under",
    "letter", "quiet", "market", "silver", "evening", "bread", "window", "nobody", "station", "paper",
];
/// Tone of the first word, and from one to the next, in Hz.
const FIRST_HZ: u32 = 300;
const STEP_HZ: u32 = 100;
/// Windows in which a tone is looked for.
const WINDOW_MS: usize = 25;
/// A tone of fewer windows is the edge between two words.
const WINDOWS_OF_A_WORD: usize = 4;
/// What is quieter is no word.
const SILENCE: u16 = 2_000;

/// What this person says, as numbers of words: no word comes twice in a row, and each person's begins by itself.
pub(crate) fn sentence(person: usize, number: usize, length: usize) -> Vec<usize> {
    let count = WORDS.len();
    let mut words = vec![person % count];
    // Steps of 1 to 19 never stay where they are.
    words.push((person + 1 + (person / count + number * 7) % (count - 1)) % count);
    let mut seed = person * 31 + number * 17 + 1;
    while words.len() < length {
        seed = (seed * 1_103 + 12_345) % 65_537;
        let last = words[words.len() - 1];
        words.push((last + 1 + seed % (count - 1)) % count);
    }
    words
}

/// Their sound at [`RATE`].
pub(crate) fn sound(words: &[usize]) -> Vec<i16> {
    words.iter().flat_map(|word| tone(*word)).collect()
}

#[expect(clippy::cast_possible_truncation, reason = "within the range")]
fn tone(word: usize) -> impl Iterator<Item = i16> {
    let hz = f64::from(FIRST_HZ + STEP_HZ * word as u32);
    (0..RATE * WORD_MS / 1_000).map(move |at| {
        let phase = std::f64::consts::TAU * hz * f64::from(at) / f64::from(RATE);
        (phase.sin() * 12_000.0) as i16
    })
}

/// What is said in `samples` of this rate.
pub(crate) fn understand(samples: &[i16], rate: u32) -> String {
    let window = rate as usize * WINDOW_MS / 1_000;
    let heard: Vec<Option<usize>> = samples.chunks_exact(window).map(|window| word(window, rate)).collect();
    let runs = heard.chunk_by(|one, next| one == next).filter(|run| run.len() >= WINDOWS_OF_A_WORD);
    runs.filter_map(|run| run[0].map(|word| WORDS[word])).collect::<Vec<_>>().join(" ")
}

/// By its zero crossings.
fn word(window: &[i16], rate: u32) -> Option<usize> {
    if window.iter().all(|sample| sample.unsigned_abs() < SILENCE) {
        return None;
    }
    let crossings = window.windows(2).filter(|pair| (pair[0] < 0) != (pair[1] < 0)).count();
    let hz = crossings * rate as usize / window.len() / 2;
    let word = (hz + STEP_HZ as usize / 2).checked_sub(FIRST_HZ as usize)? / STEP_HZ as usize;
    Some(word.min(WORDS.len() - 1))
}
