//! What `antiphon models` prints, as text. Pure but for asking the store what is installed.

use crate::models::{Bundle, Catalogue, Device, Model, State, Store};

/// Languages that are named one by one.
const NAMED_LANGUAGES: usize = 3;

/// Every model and bundle.
pub(super) fn list(catalogue: &Catalogue, store: &Store) -> String {
    let header = ["NAME", "KIND", "LANGUAGES", "SIZE", "MEMORY", "INSTALLED", "LICENCE"];
    let mut rows = vec![header.map(str::to_owned)];
    rows.extend(catalogue.models.iter().map(|model| row(model, store)));
    let mut text = aligned(&rows);
    let header = ["BUNDLE", "SIZE", "MEMORY", "INSTALLED", "MODELS"];
    let mut rows = vec![header.map(str::to_owned)];
    rows.extend(catalogue.bundles.iter().map(|bundle| bundle_row(bundle, catalogue, store)));
    text.push('\n');
    text.push_str(&aligned(&rows));
    text.push_str(
        "\n>= is the weights alone: the least it takes, to which come those for each talk; `antiphon plan` says \
         more.\n* This version has no engine for it yet. Store: ",
    );
    text.push_str(&format!("{}\n", store.dir().display()));
    text
}

/// Sections of a configuration file. Engines that this version lacks stand as comments.
pub(super) fn settings(models: &[&Model]) -> String {
    let sections = models.iter().map(|model| {
        let settings = model.settings();
        if !model.planned {
            return settings;
        }
        let lines: String = settings.lines().map(|line| format!("# {line}\n")).collect();
        format!("# {}: this version has no engine for it yet.\n{lines}", model.name)
    });
    sections.collect::<Vec<_>>().join("\n")
}

fn row(model: &Model, store: &Store) -> [String; 7] {
    let mark = if model.planned { "*" } else { "" };
    [
        format!("{}{mark}", model.name),
        model.kind.as_str().to_owned(),
        languages(&model.languages),
        size(model.size()),
        memory(model.memory()),
        state(store, &model.name).to_owned(),
        model.licence.clone(),
    ]
}

fn bundle_row(bundle: &Bundle, catalogue: &Catalogue, store: &Store) -> [String; 5] {
    let models = || bundle.models.iter().filter_map(|name| catalogue.model(name));
    let sum = |values: &mut dyn Iterator<Item = (u64, bool)>| {
        values.fold((0, true), |(sum, exact), (bytes, sure)| (sum + bytes, exact && sure))
    };
    let is_whole = |model: &Model| matches!(store.installed(&model.name), State::Whole(_));
    let there = models().filter(|model| is_whole(model)).count();
    let device = match bundle.device {
        Device::Cpu => "RAM",
        Device::Gpu => "VRAM",
    };
    [
        bundle.name.clone(),
        size(sum(&mut models().map(Model::size))),
        format!("{} {device}", memory(sum(&mut models().map(Model::memory)))),
        format!("{there} of {}", bundle.models.len()),
        bundle.models.join(", "),
    ]
}

fn state(store: &Store, name: &str) -> &'static str {
    match store.installed(name) {
        State::Whole(_) => "yes",
        State::Broken(_) => "damaged",
        State::Absent => "-",
    }
}

fn languages(languages: &[String]) -> String {
    if languages.len() <= NAMED_LANGUAGES {
        languages.join(" ")
    } else {
        format!("{} languages", languages.len())
    }
}

fn size((bytes, exact): (u64, bool)) -> String {
    let about = if exact { "" } else { "~" };
    format!("{about}{}", megabytes(bytes))
}

fn memory((bytes, is_stated): (u64, bool)) -> String {
    let least = if is_stated { "" } else { ">=" };
    format!("{least}{}", megabytes(bytes))
}

/// In the unit that people compare disks with.
pub(super) fn megabytes(bytes: u64) -> String {
    match bytes {
        0..1_000_000 => format!("{} kB", bytes.div_ceil(1000)),
        1_000_000..1_000_000_000 => format!("{} MB", bytes.div_ceil(1_000_000)),
        _ => format!("{:.1} GB", bytes as f64 / 1e9),
    }
}

/// Columns under each other; the last is as long as it is.
fn aligned<const N: usize>(rows: &[[String; N]]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; N] = std::array::from_fn(width);
    let line = |row: &[String; N]| {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
        format!("{}\n", cells.collect::<Vec<_>>().join("  ").trim_end())
    };
    rows.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO: &str = r#"
        [[model]]
        name = "ears"
        kind = "stt"
        about = ""
        languages = ["en"]
        licence = "MIT"
        ram_mb = 388
        source = { url = "http://x" }
        main = "a.bin"
        files = [{ path = "a.bin", bytes = 147964211 }]
        engine = { kind = "whisper" }
        [[model]]
        name = "a-long-voice"
        kind = "tts"
        about = ""
        languages = ["en", "de", "fr", "es"]
        licence = "CC0-1.0"
        planned = true
        source = { url = "http://x" }
        size_mb = 1200
        files = [{ path = "b.onnx" }]
        engine = { kind = "piper" }
        [[bundle]]
        name = "both"
        about = ""
        device = "gpu"
        models = ["ears", "a-long-voice"]
    "#;

    #[test]
    fn the_list_says_what_each_takes() {
        let catalogue = Catalogue::parse("test", TWO, &Catalogue::default()).expect("valid");
        let text = list(&catalogue, &Store::new("/nowhere/models".into()));
        let expected = "\
NAME           KIND  LANGUAGES    SIZE     MEMORY    INSTALLED  LICENCE
ears           stt   en           148 MB   388 MB    -          MIT
a-long-voice*  tts   4 languages  ~1.2 GB  >=1.2 GB  -          CC0-1.0

BUNDLE  SIZE     MEMORY         INSTALLED  MODELS
both    ~1.3 GB  >=1.6 GB VRAM  0 of 2     ears, a-long-voice
";
        assert!(text.starts_with(expected), "{text}");
        assert!(text.ends_with("Store: /nowhere/models\n"), "{text}");
    }

    #[test]
    fn settings_of_engines_that_are_not_there_are_comments() {
        let catalogue = Catalogue::parse("test", TWO, &Catalogue::default()).expect("valid");
        let models: Vec<&Model> = catalogue.models.iter().collect();
        let text = settings(&models);
        let table: toml::Table = text.parse().expect("TOML");
        assert_eq!(table["engines"]["stt"][0]["model"].as_str(), Some("models:ears"));
        assert!(table["engines"].get("tts").is_none() && text.contains("# [[engines.tts]]"), "{text}");
    }
}
