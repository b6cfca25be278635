//! The memory budget: what all engines and sessions take at most, against what they may take. Pure: asks no
//! machine; figures come in as rows. Read [`judge`] first.

use std::fmt;

use serde::{Deserialize, Serialize};

const MIB: u64 = 1 << 20;

/// How much memory the server may take.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
#[serde(default)]
pub struct MemoryConfig {
    /// RAM in MiB; 0, the default, is four fifths of what the machine or the control group allows.
    pub ram_mib: u64,
    /// Memory of all GPUs in MiB; 0, the default, is nine tenths of what they have.
    pub vram_mib: u64,
}

/// What there is, where the system tells.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Available {
    /// RAM in bytes.
    pub ram_bytes: Option<u64>,
    /// Memory of all GPUs in bytes; `None` without a GPU.
    pub vram_bytes: Option<u64>,
}

/// What may be taken, in bytes.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
pub struct Budget {
    /// RAM.
    pub ram_bytes: u64,
    /// GPU memory.
    pub vram_bytes: u64,
}

impl MemoryConfig {
    /// What is configured, or else most of what there is: the rest is the system's, the disk cache's, and other
    /// programs'. Where nothing is known of RAM, nothing is refused.
    pub fn budget(&self, available: Available) -> Budget {
        let most = |bytes: u64, tenths: u64| bytes / 10 * tenths;
        let ram = match self.ram_mib {
            0 => available.ram_bytes.map_or(u64::MAX, |bytes| most(bytes, 8)),
            mib => mib.saturating_mul(MIB),
        };
        let vram = match self.vram_mib {
            0 => available.vram_bytes.map_or(0, |bytes| most(bytes, 9)),
            mib => mib.saturating_mul(MIB),
        };
        Budget { ram_bytes: ram, vram_bytes: vram }
    }
}

/// Bytes in RAM and on GPUs.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize)]
pub struct Bytes {
    /// RAM.
    pub ram: u64,
    /// GPU memory.
    pub vram: u64,
}

/// What one engine takes, or the sessions, or the server itself.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize)]
pub struct Row {
    /// What takes it, as the table names it.
    pub name: String,
    /// The key that says how many there are: `engines.llm[0].slots`; empty where no key does.
    pub key: String,
    /// How many there are now.
    pub count: usize,
    /// What the key says beyond `count`, where other rows stand for the rest of it.
    pub base: usize,
    /// Taken whatever the count.
    pub fixed: Bytes,
    /// Taken by each.
    pub each: Bytes,
    /// `declared` or `measured`.
    pub source: String,
}

impl Row {
    /// Bytes in all.
    pub fn total(&self) -> Bytes {
        let of = |fixed: u64, each: u64| fixed.saturating_add(each.saturating_mul(self.count as u64));
        Bytes { ram: of(self.fixed.ram, self.each.ram), vram: of(self.fixed.vram, self.each.vram) }
    }
}

/// Rows that take more than the budget.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct OverBudget {
    rows: Vec<Row>,
    budget: Budget,
}

/// The sum of the rows, or why it is too much.
pub fn judge(rows: &[Row], budget: Budget) -> Result<Bytes, OverBudget> {
    let total = sum(rows);
    if total.ram <= budget.ram_bytes && total.vram <= budget.vram_bytes {
        return Ok(total);
    }
    Err(OverBudget { rows: rows.to_vec(), budget })
}

fn sum(rows: &[Row]) -> Bytes {
    rows.iter().map(Row::total).fold(Bytes::default(), |sum, row| Bytes {
        ram: sum.ram.saturating_add(row.ram),
        vram: sum.vram.saturating_add(row.vram),
    })
}

impl OverBudget {
    /// Bytes beyond the budget.
    pub fn over(&self) -> Bytes {
        let total = sum(&self.rows);
        Bytes {
            ram: total.ram.saturating_sub(self.budget.ram_bytes),
            vram: total.vram.saturating_sub(self.budget.vram_bytes),
        }
    }

    /// What to change: the one count that has to give up the least of itself, or else the largest row.
    pub fn advice(&self) -> String {
        let over = self.over();
        let fewer = self.rows.iter().filter_map(|row| Some((row, reduced(row, over)?)));
        let least = fewer.min_by_key(|(row, count)| 1000 * (row.count - count) / row.count);
        let total = sum(&self.rows);
        let raise = match over.ram {
            0 => format!("raise memory.vram_mib to {}", total.vram.div_ceil(MIB)),
            _ => format!("raise memory.ram_mib to {}", total.ram.div_ceil(MIB)),
        };
        if let Some((row, count)) = least {
            return format!(
                "Lower {} from {} to {}, or {raise} if there is so much.",
                row.key,
                row.base + row.count,
                row.base + count
            );
        }
        let size = |row: &&Row| if over.ram > 0 { row.total().ram } else { row.total().vram };
        let largest = self.rows.iter().filter(|row| !row.key.is_empty()).max_by_key(size);
        let largest = largest.map_or("the server itself", |row| row.key.as_str());
        format!(
            "No single count is enough: lower {largest}, which takes the most, and others; or take smaller models; \
             or {raise} if there is so much."
        )
    }
}

/// The count at which `row` alone takes `over` less; `None` where not even one would.
fn reduced(row: &Row, over: Bytes) -> Option<usize> {
    let needed = |over: u64, each: u64| match (over, each) {
        (0, _) => Some(0),
        (_, 0) => None,
        _ => usize::try_from(over.div_ceil(each)).ok(),
    };
    let fewer = needed(over.ram, row.each.ram)?.max(needed(over.vram, row.each.vram)?);
    row.count.checked_sub(fewer).filter(|count| row.base + count > 0 && !row.key.is_empty())
}

impl std::error::Error for OverBudget {}

impl fmt::Display for OverBudget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the engines and sessions take more memory than there is for them:\n")?;
        write_table(f, &self.rows, self.budget)?;
        write!(f, "{}", self.advice())
    }
}

/// A table of rows, their sum, the budget, and how far it is over.
pub fn write_table(f: &mut impl fmt::Write, rows: &[Row], budget: Budget) -> fmt::Result {
    const HEAD: &str = "one instance a row";
    let width = rows.iter().map(|row| row.name.len()).max().unwrap_or(0).max(HEAD.len());
    writeln!(f, "  {HEAD:width$}  {:>6}  {:>11}  {:>11}  source", "slots", "RAM MiB", "VRAM MiB")?;
    for row in rows {
        let Bytes { ram, vram } = row.total();
        writeln!(
            f,
            "  {:width$}  {:>6}  {:>11}  {:>11}  {}",
            row.name,
            row.count,
            mib(ram),
            mib(vram),
            row.source
        )?;
    }
    let total = sum(rows);
    let mut line = |name: &str, ram: String, vram: String| {
        writeln!(f, "  {name:width$}  {:>6}  {ram:>11}  {vram:>11}", "")
    };
    line("total", mib(total.ram), mib(total.vram))?;
    line("budget", mib(budget.ram_bytes), mib(budget.vram_bytes))?;
    let over = |taken: u64, budget: u64| match taken.checked_sub(budget) {
        Some(over) if over > 0 => mib(over),
        _ => "-".to_owned(),
    };
    line("over by", over(total.ram, budget.ram_bytes), over(total.vram, budget.vram_bytes))
}

/// Bytes in MiB, to a tenth where there are few.
fn mib(bytes: u64) -> String {
    match bytes {
        u64::MAX => "unknown".to_owned(),
        0 => "0".to_owned(),
        #[expect(clippy::cast_precision_loss, reason = "shown to a tenth of a MiB")]
        few if few < 100 * MIB => format!("{:.1}", few as f64 / MIB as f64),
        many => many.div_ceil(MIB).to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn row(name: &str, count: usize, fixed_mib: u64, each_mib: u64) -> Row {
        Row {
            name: name.to_owned(),
            key: format!("engines.{name}[0].slots"),
            count,
            base: 0,
            fixed: Bytes { ram: fixed_mib * MIB, vram: 0 },
            each: Bytes { ram: each_mib * MIB, vram: 0 },
            source: "declared".to_owned(),
        }
    }

    fn budget(ram_mib: u64) -> Budget {
        Budget { ram_bytes: ram_mib * MIB, vram_bytes: 0 }
    }

    #[test]
    fn the_budget_is_what_is_set_or_most_of_what_there_is() {
        let available = Available { ram_bytes: Some(1000 * MIB), vram_bytes: None };
        let auto = MemoryConfig::default();
        assert_eq!(auto.budget(available), budget(800));
        assert_eq!(auto.budget(Available { vram_bytes: Some(10 * MIB), ..available }).vram_bytes, 9 * MIB);
        assert_eq!(auto.budget(Available::default()).ram_bytes, u64::MAX, "nothing known, nothing refused");
        let set = MemoryConfig { ram_mib: 7, vram_mib: 3 };
        assert_eq!(set.budget(available), Budget { ram_bytes: 7 * MIB, vram_bytes: 3 * MIB });
    }

    #[test]
    fn what_just_fits_passes() {
        let rows = [row("stt", 2, 100, 10), row("llm", 8, 40, 20)];
        assert_eq!(judge(&rows, budget(320)), Ok(Bytes { ram: 320 * MIB, vram: 0 }));
        assert_eq!(judge(&rows, budget(319)).expect_err("one too few").over().ram, MIB);
    }

    #[test]
    fn the_advice_names_the_least_change_that_is_enough() {
        let rows = [row("stt", 2, 100, 10), row("llm", 8, 40, 20)];
        for (ram, advice) in [
            (
                300,
                "Lower engines.llm[0].slots from 8 to 7, or raise memory.ram_mib to 320 if there is so much.",
            ),
            (
                190,
                "Lower engines.llm[0].slots from 8 to 1, or raise memory.ram_mib to 320 if there is so much.",
            ),
            (100, "No single count is enough: lower engines.llm[0].slots, which takes the most, "),
        ] {
            let told = judge(&rows, budget(ram)).expect_err("over").advice();
            assert!(told.starts_with(advice), "{told}");
        }
    }

    #[test]
    fn a_row_that_is_a_part_of_its_key_may_go_altogether() {
        let rows = [row("stt", 2, 100, 10), Row { base: 1, ..row("llm", 2, 0, 100) }];
        let told = judge(&rows, budget(150)).expect_err("over").advice();
        assert!(told.starts_with("Lower engines.llm[0].slots from 3 to 1, "), "{told}");
    }

    #[test]
    fn gpu_memory_is_judged_by_itself() {
        let mut rows = [row("llm", 4, 40, 20)];
        rows[0].each.vram = 100 * MIB;
        let over = judge(&rows, Budget { ram_bytes: u64::MAX, vram_bytes: 250 * MIB }).expect_err("over");
        assert_eq!(over.over(), Bytes { ram: 0, vram: 150 * MIB });
        assert_eq!(
            over.advice(),
            "Lower engines.llm[0].slots from 4 to 2, or raise memory.vram_mib to 400 if there is so much."
        );
    }

    #[test]
    fn the_table_shows_every_row_the_sum_and_the_excess() {
        let rows = [row("stt whisper", 2, 100, 10), row("llm onnx", 8, 40, 20)];
        insta::assert_snapshot!(judge(&rows, budget(300)).expect_err("over"));
    }

    proptest! {
        #[test]
        fn following_the_advice_is_enough(
            counts in prop::collection::vec((1usize..50, 0u64..500, 0u64..100), 1..5),
            ram in 0u64..5000,
        ) {
            let rows: Vec<Row> = counts.iter().map(|(count, fixed, each)| row("x", *count, *fixed, *each)).collect();
            if let Err(over) = judge(&rows, budget(ram)) {
                let found = rows.iter().enumerate().find_map(|(at, row)| Some((at, reduced(row, over.over())?)));
                if let Some((at, count)) = found {
                    let mut changed = rows.clone();
                    changed[at].count = count;
                    prop_assert!(judge(&changed, budget(ram)).is_ok());
                    changed[at].count = count + 1;
                    prop_assert!(judge(&changed, budget(ram)).is_err(), "it asks for more than is needed");
                } else {
                    prop_assert!(over.advice().starts_with("No single count"));
                }
            }
        }
    }
}
