//! What the run showed, as numbers, as a table and as JSON. Pure.

use std::collections::BTreeMap;
use std::fmt::{Display, Formatter, Result};

use serde::Serialize;

use crate::judge::{Verdict, judge};
use crate::process::Usage;
use crate::record::{Lateness, Outcome, TurnRecord, UserRecord};
use crate::stats::Summary;

/// Lines of a list in the table; the JSON file has all.
const LINES: usize = 10;

/// The whole run.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) passed: bool,
    pub(crate) setup: Setup,
    pub(crate) totals: Totals,
    pub(crate) server: Option<Usage>,
    pub(crate) load_generator: Option<Usage>,
    pub(crate) users: Vec<UserRecord>,
    pub(crate) turns: Vec<TurnRecord>,
}

/// What was asked for.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Setup {
    pub(crate) url: String,
    pub(crate) users: u32,
    pub(crate) duration_s: f64,
    pub(crate) elapsed_s: f64,
    pub(crate) mode: String,
    pub(crate) seed: u64,
    /// Whether there were more users than facts, so that some leaks cannot be seen.
    pub(crate) shared_facts: bool,
}

/// All turns together.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Totals {
    pub(crate) answered: usize,
    pub(crate) interrupted: usize,
    pub(crate) failed: usize,
    pub(crate) lost_users: usize,
    pub(crate) latency_ms: Option<Summary>,
    pub(crate) barge_in_ms: Option<Summary>,
    pub(crate) server_ms: BTreeMap<String, Summary>,
    pub(crate) talked_over: usize,
    pub(crate) word_edits: usize,
    pub(crate) words: usize,
    pub(crate) right: usize,
    pub(crate) asked: usize,
    pub(crate) implausible: usize,
    pub(crate) verdict: Verdict,
    pub(crate) clock: Lateness,
}

impl Totals {
    /// Adds everything up.
    pub(crate) fn of(turns: &[TurnRecord], users: &[UserRecord]) -> Self {
        let count = |outcome| turns.iter().filter(|turn| turn.outcome == outcome).count();
        let errors = || turns.iter().filter_map(|turn| turn.word_errors);
        let mut server_ms: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
        for (name, ms) in turns.iter().flat_map(|turn| &turn.server_ms) {
            server_ms.entry(name).or_default().push(*ms);
        }
        Self {
            answered: count(Outcome::Answered),
            interrupted: count(Outcome::Interrupted),
            failed: count(Outcome::Failed),
            lost_users: users.iter().filter(|user| user.lost.is_some()).count(),
            latency_ms: Summary::of(turns.iter().filter_map(|turn| turn.latency_ms)),
            barge_in_ms: Summary::of(turns.iter().filter_map(|turn| turn.barge_in_ms)),
            server_ms: server_ms
                .into_iter()
                .filter_map(|(name, values)| Some((name.to_owned(), Summary::of(values)?)))
                .collect(),
            talked_over: turns.iter().filter(|turn| turn.talked_over).count(),
            word_edits: errors().map(|errors| errors.edits).sum(),
            words: errors().map(|errors| errors.words).sum(),
            right: turns.iter().filter(|turn| turn.right == Some(true)).count(),
            asked: turns.iter().filter(|turn| turn.right.is_some()).count(),
            implausible: turns.iter().filter(|turn| !turn.plausible).count(),
            verdict: judge(turns, users),
            clock: users.iter().map(|user| user.clock).fold(Lateness::default(), Lateness::and),
        }
    }

    /// Whether there were turns and every one was answered, nobody was turned away and no session saw another.
    pub(crate) fn passed(&self) -> bool {
        self.answered > 0 && self.failed == 0 && self.lost_users == 0 && self.verdict.cross_talk.is_empty()
    }
}

impl Display for Report {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let Self { setup, totals, .. } = self;
        writeln!(f, "{}: {} users, {:.0} s, {}", setup.url, setup.users, setup.elapsed_s, setup.mode)?;
        write_outcomes(f, totals)?;
        write_latencies(f, totals)?;
        write_content(f, totals)?;
        if setup.shared_facts {
            writeln!(f, "facts       shared: more users than values, so some leaks cannot be seen")?;
        }
        write_machine(f, self)?;
        let failures = self.turns.iter().filter_map(|turn| Some((turn, turn.failure.as_ref()?)));
        let failures = failures.map(|(turn, why)| format!("user {} said {:?}: {why}", turn.user, turn.said));
        write_list(f, "failed turns", failures)?;
        let lost =
            self.users.iter().filter_map(|user| Some(format!("user {}: {}", user.user, user.lost.as_ref()?)));
        write_list(f, "lost users", lost)?;
        write_list(f, "cross-talk", totals.verdict.cross_talk.iter().cloned())?;
        writeln!(f, "{}", if self.passed { "PASSED" } else { "FAILED" })
    }
}

fn write_outcomes(f: &mut Formatter<'_>, totals: &Totals) -> Result {
    let Totals { answered, interrupted, failed, lost_users, .. } = totals;
    writeln!(
        f,
        "turns       {answered} answered, {interrupted} interrupted, {failed} failed; {lost_users} users lost"
    )
}

fn write_latencies(f: &mut Formatter<'_>, totals: &Totals) -> Result {
    writeln!(
        f,
        "{:<32}{:>7}{:>8}{:>8}{:>8}{:>8}{:>8}",
        "milliseconds", "count", "p50", "p90", "p95", "p99", "max"
    )?;
    write_summary(f, "response latency", totals.latency_ms)?;
    write_summary(f, "barge-in", totals.barge_in_ms)?;
    for (name, summary) in &totals.server_ms {
        write_summary(f, &format!("  server: {name}"), Some(*summary))?;
    }
    if totals.talked_over > 0 {
        writeln!(f, "talked over {} answers began before the user had finished", totals.talked_over)?;
    }
    Ok(())
}

fn write_summary(f: &mut Formatter<'_>, name: &str, summary: Option<Summary>) -> Result {
    let Some(Summary { count, p50, p90, p95, p99, max }) = summary else { return Ok(()) };
    writeln!(f, "{name:<32}{count:>7}{p50:>8.0}{p90:>8.0}{p95:>8.0}{p99:>8.0}{max:>8.0}")
}

fn write_content(f: &mut Formatter<'_>, totals: &Totals) -> Result {
    if totals.words > 0 {
        let (edits, words) = (totals.word_edits, totals.words);
        writeln!(f, "transcripts {:.1} % word errors ({edits} of {words})", percent(edits, words))?;
    }
    if totals.asked > 0 {
        let (right, asked) = (totals.right, totals.asked);
        writeln!(f, "answers     {:.1} % right ({right} of {asked})", percent(right, asked))?;
    }
    if totals.implausible > 0 {
        writeln!(f, "audio       {} answers too long or too short for their words", totals.implausible)?;
    }
    let Verdict { cross_talk, misheard, invented } = &totals.verdict;
    let found = if cross_talk.is_empty() { "none".to_owned() } else { cross_talk.len().to_string() };
    writeln!(
        f,
        "cross-talk  {found} (values of others misheard: {misheard}, invented before told: {invented})"
    )
}

fn percent(part: usize, whole: usize) -> f64 {
    100.0 * part as f64 / whole.max(1) as f64
}

fn write_machine(f: &mut Formatter<'_>, report: &Report) -> Result {
    if let Some(usage) = &report.server {
        let Usage { pid, start_rss_mib, peak_rss_mib, end_rss_mib, mean_cores, peak_cores, .. } = usage;
        let each = (peak_rss_mib - start_rss_mib) / f64::from(report.setup.users.max(1));
        writeln!(
            f,
            "server      pid {pid}: {start_rss_mib:.1} MiB at the start, {peak_rss_mib:.1} at the peak \
             ({each:+.2} a user), {end_rss_mib:.1} at the end; {mean_cores:.2} cores on average, \
             {peak_cores:.2} at most"
        )?;
    }
    let Lateness { frames, over_5_ms, over_20_ms, max_ms } = report.totals.clock;
    let cores = report.load_generator.map_or(0.0, |usage| usage.mean_cores);
    writeln!(
        f,
        "this client {cores:.2} cores; {frames} frames, {over_5_ms} over 5 ms late, {over_20_ms} over 20 ms, \
         {max_ms:.0} ms at most"
    )
}

fn write_list(f: &mut Formatter<'_>, title: &str, lines: impl Iterator<Item = String>) -> Result {
    let lines: Vec<_> = lines.collect();
    if lines.is_empty() {
        return Ok(());
    }
    writeln!(f, "{title}:")?;
    for line in lines.iter().take(LINES) {
        writeln!(f, "  {line}")?;
    }
    if lines.len() > LINES {
        writeln!(f, "  and {} more (--json has them all)", lines.len() - LINES)?;
    }
    Ok(())
}

/// One line for one turn.
pub(crate) fn turn_line(turn: &TurnRecord) -> String {
    let number = |ms: Option<f64>| ms.map_or("-".to_owned(), |ms| format!("{ms:.0}"));
    let outcome = match (&turn.failure, turn.barge_in_ms) {
        (Some(why), _) => format!("FAILED {why}"),
        (None, Some(ms)) => format!("interrupted, silent after {ms:.0} ms"),
        (None, None) if turn.outcome == Outcome::Interrupted => "interrupted, all was sent".to_owned(),
        (None, None) => match turn.right {
            Some(false) => "wrong".to_owned(),
            _ => String::new(),
        },
    };
    let mut line = format!(
        "{:>7.1}s user {:<3} {:>5} ms  {:?}",
        turn.ended_s,
        turn.user,
        number(turn.latency_ms),
        turn.said
    );
    if turn.word_errors.is_some_and(|errors| errors.edits > 0) {
        line += &format!(" heard {:?}", turn.heard);
    }
    line += &format!(" -> {:?} {outcome}", turn.answer);
    line.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::TurnKind;
    use crate::record::tests::scored;

    fn report(turns: Vec<TurnRecord>) -> Report {
        let users = vec![UserRecord::default()];
        let totals = Totals::of(&turns, &users);
        let setup = Setup { url: "ws://x".into(), users: 1, ..Setup::default() };
        Report { passed: totals.passed(), setup, totals, server: None, load_generator: None, users, turns }
    }

    fn good() -> TurnRecord {
        let mut turn = scored(TurnKind::Question, "Where do I live?", "where do i love", "In Oslo.");
        turn.server_ms.insert("stt".into(), 40.0);
        turn
    }

    #[test]
    fn a_good_run_passes_and_shows_its_numbers() {
        let report = report(vec![good(), good()]);
        let text = report.to_string();
        for part in [
            "2 answered",
            "response latency",
            "server: stt",
            "25.0 % word errors (2 of 8)",
            "100.0 % right",
            "PASSED",
        ] {
            assert!(text.contains(part), "{part} in\n{text}");
        }
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!(json["totals"]["latency_ms"]["p50"], 300.0);
        assert_eq!(json["turns"][0]["kind"], "question");
    }

    #[test]
    fn a_failed_turn_or_a_lost_user_fails_the_run() {
        let mut failed = good();
        (failed.outcome, failed.failure) = (Outcome::Failed, Some("no answer".into()));
        assert!(report(vec![failed.clone()]).to_string().contains("FAILED"));
        assert!(turn_line(&failed).contains("FAILED no answer"));
        let lost = UserRecord { lost: Some("refused".into()), ..UserRecord::default() };
        assert!(!Totals::of(&[good()], &[lost]).passed());
        assert!(!Totals::of(&[], &[]).passed(), "nothing was measured");
    }

    #[test]
    fn lines_tell_what_went_wrong() {
        assert!(turn_line(&good()).contains("heard \"where do i love\""));
        let mut interrupted = good();
        interrupted.outcome = Outcome::Interrupted;
        assert!(turn_line(&interrupted).contains("all was sent"));
        interrupted.barge_in_ms = Some(120.4);
        assert!(turn_line(&interrupted).contains("silent after 120 ms"));
    }
}
