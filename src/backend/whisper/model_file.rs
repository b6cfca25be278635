//! Reads a ggml Whisper file's structure before whisper.cpp does, which trusts the lengths that it finds: a
//! damaged file would have it allocate without bound, and a C++ exception would end the process.

use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::Path;

/// "ggml", the first four bytes as a little-endian number.
const MAGIC: u32 = 0x6767_6d6c;
/// Sizes in the header beyond which it is no Whisper; the largest model has 1,280 and 51,866.
const MAX_SIZE: u32 = 1 << 17;
/// The longest token and tensor name; Whisper's longest token has 128 bytes.
const MAX_TEXT: u32 = 1024;
/// A complete English vocabulary has 50,257 tokens; a starter model has a few hundred.
const COMPLETE_VOCABULARY: u32 = 50_000;

/// What is known of a model file that is whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ModelFile {
    /// Whether it has Whisper's own vocabulary. One with a small vocabulary was trained for one task and knows
    /// no prompts.
    pub(super) has_complete_vocabulary: bool,
    /// The network's sizes.
    pub(super) sizes: Sizes,
}

/// Sizes that the header gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sizes {
    /// Tokens, those that whisper.cpp adds included.
    pub(super) vocabulary: u64,
    /// Positions of 20 ms that the encoder hears at once.
    pub(super) audio_ctx: u64,
    /// Values of a position, in encoder and decoder.
    pub(super) width: u64,
    pub(super) audio_heads: u64,
    pub(super) audio_layers: u64,
    /// Tokens of a text.
    pub(super) text_ctx: u64,
    pub(super) text_layers: u64,
    /// Bands of the spectrum.
    pub(super) mels: u64,
}

impl ModelFile {
    /// Languages that it was trained for, in whisper.cpp's order; 0 for a model of English alone. The vocabulary
    /// tells: 51,864 tokens and English, 51,865 and 99 languages, 51,866 (large-v3) and 100.
    pub(super) fn languages(&self) -> usize {
        let beyond_english = self.sizes.vocabulary.saturating_sub(51_864);
        if beyond_english == 0 { 0 } else { usize::try_from(beyond_english + 98).unwrap_or_default() }
    }

    /// Tokens that a prompt may have: half of the text, less the mark that it begins with.
    pub(super) fn max_prompt(&self) -> usize {
        let half = usize::try_from(self.sizes.text_ctx / 2).unwrap_or_default();
        if self.has_complete_vocabulary { half.saturating_sub(1) } else { 0 }
    }
}

impl Sizes {
    fn of(header: &[u32; 10]) -> Self {
        let [vocabulary, audio_ctx, width, audio_heads, audio_layers, text_ctx, _, _, text_layers, mels] =
            header.map(u64::from);
        Self { vocabulary, audio_ctx, width, audio_heads, audio_layers, text_ctx, text_layers, mels }
    }
}

/// Walks the file from its header to its last tensor. The error says what is wrong.
pub(super) fn check(path: &Path) -> Result<ModelFile, String> {
    let file = File::open(path).map_err(|error| error.to_string())?;
    let len = file.metadata().map_err(|error| error.to_string())?.len();
    Walk { file: BufReader::new(file), at: 0, len }.model()
}

struct Walk {
    file: BufReader<File>,
    at: u64,
    len: u64,
}

impl Walk {
    fn model(&mut self) -> Result<ModelFile, String> {
        if self.number()? != MAGIC {
            return Err("it is not a ggml Whisper model".into());
        }
        // Vocabulary, audio context, state, heads, layers, text context, state, heads, layers, mels.
        let mut header = [0; 10];
        for size in &mut header {
            *size = self.number()?;
            if *size == 0 || *size > MAX_SIZE {
                return Err(format!("its header is damaged: a size of {size}"));
            }
        }
        if header[2] != header[6] || header[2] % header[3] != 0 || header[6] % header[7] != 0 {
            return Err("its header is damaged: sizes do not fit each other".into());
        }
        let _format = self.number()?;
        let filters = u64::from(self.number()?) * u64::from(self.number()?);
        self.skip(filters.saturating_mul(4))?;
        let tokens = self.number()?;
        if tokens > header[0] {
            return Err("its vocabulary is damaged".into());
        }
        for _ in 0..tokens {
            let len = self.text_len()?;
            self.skip(len)?;
        }
        while self.at < self.len {
            self.tensor()?;
        }
        Ok(ModelFile { has_complete_vocabulary: tokens >= COMPLETE_VOCABULARY, sizes: Sizes::of(&header) })
    }

    fn tensor(&mut self) -> Result<(), String> {
        let dimensions = self.number()?;
        let name_len = self.text_len()?;
        let kind = self.number()?;
        if dimensions > 4 {
            return Err(format!("a tensor is damaged: {dimensions} dimensions"));
        }
        let mut elements = 1u64;
        for _ in 0..dimensions {
            elements = elements.saturating_mul(u64::from(self.number()?));
        }
        self.skip(name_len)?;
        let (block, bytes) = block_of(kind).ok_or_else(|| format!("a tensor is damaged: type {kind}"))?;
        self.skip((elements / block).saturating_mul(bytes))
    }

    fn number(&mut self) -> Result<u32, String> {
        let mut bytes = [0; 4];
        self.file.read_exact(&mut bytes).map_err(|_| self.cut_short())?;
        self.at += 4;
        Ok(u32::from_le_bytes(bytes))
    }

    fn text_len(&mut self) -> Result<u64, String> {
        match self.number()? {
            len if len > MAX_TEXT => Err(format!("it is damaged: a name of {len} bytes")),
            len => Ok(u64::from(len)),
        }
    }

    fn skip(&mut self, bytes: u64) -> Result<(), String> {
        let offset = i64::try_from(bytes).map_err(|_| self.cut_short())?;
        self.at = self.at.saturating_add(bytes);
        if self.at > self.len {
            return Err(self.cut_short());
        }
        self.file
            .seek_relative(offset)
            .or_else(|_| self.file.seek(SeekFrom::Start(self.at)).map(drop))
            .map_err(|error| error.to_string())
    }

    fn cut_short(&self) -> String {
        format!("it is cut short: {} bytes are not all of it", self.len)
    }
}

/// Elements and bytes of a block of each ggml type that Whisper files use (`ggml.c`, `type_traits`).
fn block_of(kind: u32) -> Option<(u64, u64)> {
    Some(match kind {
        0 => (1, 4),
        1 | 30 => (1, 2),
        2 => (32, 18),
        3 => (32, 20),
        6 => (32, 22),
        7 => (32, 24),
        8 => (32, 34),
        10 => (256, 84),
        11 => (256, 110),
        12 => (256, 144),
        13 => (256, 176),
        14 => (256, 210),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::io::Write;

    /// A file of the right shape with nothing in it.
    fn file() -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut put = |number: u32| bytes.extend(number.to_le_bytes());
        let header = [MAGIC, 51_864, 768, 128, 2, 6, 128, 128, 4, 2, 80, 1, 2, 3];
        header.into_iter().chain([0; 6]).for_each(&mut put);
        put(2);
        put(4);
        bytes.extend(b"word");
        bytes.extend([0; 4]);
        for number in [2u32, 3, 1, 5, 2] {
            bytes.extend(number.to_le_bytes());
        }
        bytes.extend(b"abc");
        bytes.extend([0; 20]);
        bytes
    }

    fn checked(bytes: &[u8]) -> Result<ModelFile, String> {
        let mut file = tempfile::NamedTempFile::new().expect("a temporary file");
        file.write_all(bytes).expect("written");
        check(file.path())
    }

    #[test]
    fn a_whole_file_passes() {
        let whole = checked(&file()).expect("nothing is wrong with it");
        assert!(!whole.has_complete_vocabulary);
        let sizes = whole.sizes;
        assert_eq!(
            (sizes.vocabulary, sizes.audio_ctx, sizes.width, sizes.audio_heads),
            (51_864, 768, 128, 2)
        );
        assert_eq!((sizes.audio_layers, sizes.text_ctx, sizes.text_layers, sizes.mels), (6, 128, 2, 80));
    }

    #[test]
    fn damage_is_named() {
        let cut = &file()[..file().len() - 1];
        let mut long = file();
        long[84..88].copy_from_slice(&u32::MAX.to_le_bytes());
        let table: [(&[u8], &str); 4] =
            [(b"", "cut short"), (b"PK\x03\x04", "not a ggml"), (cut, "cut short"), (&long, "damaged")];
        for (bytes, expected) in table {
            let error = checked(bytes).expect_err("it is damaged");
            assert!(error.contains(expected), "{error}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn any_bytes_are_survived(flips in prop::collection::vec((0usize..150, any::<u8>()), 1..20), cut in 0usize..150) {
            let mut bytes = file();
            for (at, byte) in flips {
                let at = at % bytes.len();
                bytes[at] = byte;
            }
            bytes.truncate(cut.max(4));
            drop(checked(&bytes));
        }
    }
}
