//! What the engines of a configuration cost, from their files: nothing is loaded. Read [`costs`] first.

use super::catalog::{EnginesConfig, LlmConfig, SttConfig, TtsConfig};
use super::process::{PROCESS_BYTES, Placeable};
use crate::engine::cost::{EngineCost, OwnCost};

/// An engine of the configuration and what one instance of it costs.
#[derive(Clone, Debug, PartialEq)]
pub struct Priced {
    /// `stt`, `llm` or `tts`.
    pub pool: &'static str,
    /// Its place in the configuration: `engines.stt[0]`.
    pub key: String,
    /// Its name.
    pub name: String,
    /// Calls that may run at once.
    pub slots: usize,
    /// It works only where no other engine of its list is healthy.
    pub fallback: bool,
    /// Declared costs; the error says why they cannot be known. Loading it will fail for the same reason.
    pub cost: Result<EngineCost, String>,
    /// What the operator declared; it stands over what is measured too.
    pub own: OwnCost,
}

/// What the engines of `config` cost, in the order of the catalog: speech-to-text, language models,
/// text-to-speech.
pub fn costs(config: &EnginesConfig) -> Vec<Priced> {
    let stt = config.stt.iter().enumerate().map(|(index, entry)| price("stt", index, entry));
    let llm = config.llm.iter().enumerate().map(|(index, entry)| price("llm", index, entry));
    let tts = config.tts.iter().enumerate().map(|(index, entry)| price("tts", index, entry));
    stt.chain(llm).chain(tts).collect()
}

fn price<C: Costly + Placeable>(pool: &'static str, index: usize, entry: &C) -> Priced {
    let Terms { name, slots, fallback, own } = entry.terms();
    let of_process = if entry.is_apart() { PROCESS_BYTES } else { 0 };
    let declared = entry.cost().map(|cost| cost.with_more_ram(of_process));
    let declared = declared.or_else(|error| bare(pool, slots, own, error));
    Priced {
        pool,
        key: format!("engines.{pool}[{index}]"),
        name: name.to_owned(),
        slots,
        fallback,
        cost: declared.map(|cost| cost.with_own(&own)),
        own,
    }
}

/// Where files cannot be read, the operator's figures stand alone: a model may be planned for before it is there.
fn bare(pool: &str, slots: usize, own: OwnCost, error: String) -> Result<EngineCost, String> {
    let threads = if pool == "llm" { 1 } else { slots };
    if own == OwnCost::default() { Err(error) } else { Ok(EngineCost { threads, ..EngineCost::default() }) }
}

/// What the configuration itself says.
struct Terms<'a> {
    name: &'a str,
    slots: usize,
    fallback: bool,
    own: OwnCost,
}

/// What costs something.
trait Costly {
    fn terms(&self) -> Terms<'_>;
    /// What its files say.
    fn cost(&self) -> Result<EngineCost, String>;
}

macro_rules! costly {
    ($config:ident: $($kind:ident),+) => {
        impl Costly for $config {
            fn terms(&self) -> Terms<'_> {
                match self {
                    $(Self::$kind(config) => {
                        let (slots, fallback) = (config.slots, config.fallback);
                        Terms { name: &config.name, slots, fallback, own: config.cost }
                    }),+
                }
            }
            fn cost(&self) -> Result<EngineCost, String> {
                match self { $(Self::$kind(config) => config.cost()),+ }
            }
        }
    };
}

costly!(SttConfig: Whisper, Moonshine, OpenAi, Scripted);
costly!(LlmConfig: Onnx, OpenAi, Scripted);
costly!(TtsConfig: Espeak, Piper, Kokoro, OpenAi, Scripted);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn costs_come_from_files_or_from_the_operator() {
        let text = r#"
            [[stt]]
            kind = "whisper"
            model = "/nowhere/ggml.bin"
            [[llm]]
            kind = "onnx"
            model = "/nowhere/llm"
            cost = { vram_mib = 3000, slot_vram_mib = 100 }
        "#;
        let priced = costs(&toml::from_str(text).expect("the documented form"));
        let keys: Vec<&str> = priced.iter().map(|entry| entry.key.as_str()).collect();
        assert_eq!(keys, ["engines.stt[0]", "engines.llm[0]", "engines.tts[0]"]);
        assert!(priced[0].cost.as_ref().is_err_and(|error| error.contains("/nowhere/ggml.bin")));
        let llm = priced[1].cost.as_ref().expect("the operator says");
        assert_eq!((llm.vram.peak_bytes(8) >> 20, llm.threads), (3800, 1));
    }

    #[test]
    fn a_process_of_its_own_is_counted() {
        let bytes = |placement: &str| {
            let text = format!("[[stt]]\nkind = \"scripted\"\nplacement = \"{placement}\"");
            let config: EnginesConfig = toml::from_str(&text).expect("the documented form");
            costs(&config).remove(0).cost.expect("a script has none of its own").ram.peak_bytes(4)
        };
        assert_eq!((bytes("server"), bytes("process")), (0, PROCESS_BYTES));
    }
}
