//! Which of the decoder's heads follow the audio: whisper.cpp aligns each token with what they look at (DTW). Pure.

use whisper_rs::{DtwMode, DtwModelPreset, DtwParameters};

use super::model_file::ModelFile;

/// Values that the alignment holds for each token, position and head: copies of what the heads look at.
const COPIES: u64 = 8;
const F32: u64 = 4;
/// Whatever the model.
const MIN_BYTES: u64 = 16 << 20;

/// How the tokens of the model of `file` are aligned: by the heads that OpenAI found for its models, else by the upper
/// half of the layers.
pub(super) fn parameters(file: &ModelFile) -> DtwParameters<'static> {
    let s = &file.sizes;
    let upper = i32::try_from(s.text_layers.div_ceil(2)).unwrap_or(1);
    let mode = match preset(file) {
        Some(model_preset) => DtwMode::ModelPreset { model_preset },
        None => DtwMode::TopMost { n_top: upper },
    };
    // whisper.cpp ends the process where this is too little; what is not touched costs nothing.
    let heads = s.audio_heads * s.text_layers.div_ceil(2);
    let bytes = MIN_BYTES + COPIES * F32 * (s.text_ctx / 2 + 4) * s.audio_ctx * heads;
    DtwParameters { mode, dtw_mem_size: usize::try_from(bytes).unwrap_or(usize::MAX) }
}

fn preset(file: &ModelFile) -> Option<DtwModelPreset> {
    let s = &file.sizes;
    let english = s.vocabulary == 51_864;
    let of = |english_one, other| Some(if english { english_one } else { other });
    match (file.has_complete_vocabulary, s.width, s.audio_layers, s.text_layers) {
        (false, ..) => None,
        (true, 384, 4, 4) => of(DtwModelPreset::TinyEn, DtwModelPreset::Tiny),
        (true, 512, 6, 6) => of(DtwModelPreset::BaseEn, DtwModelPreset::Base),
        (true, 768, 12, 12) => of(DtwModelPreset::SmallEn, DtwModelPreset::Small),
        (true, 1_024, 24, 24) => of(DtwModelPreset::MediumEn, DtwModelPreset::Medium),
        (true, 1_280, 32, 4) => Some(DtwModelPreset::LargeV3Turbo),
        (true, 1_280, 32, 32) if s.mels == 128 => Some(DtwModelPreset::LargeV3),
        // Its file does not tell large-v1; whose alignment would then be off.
        (true, 1_280, 32, 32) => Some(DtwModelPreset::LargeV2),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::model_file::Sizes;
    use super::*;

    fn file(vocabulary: u64, width: u64, layers: (u64, u64), mels: u64) -> ModelFile {
        let sizes = Sizes {
            vocabulary,
            audio_ctx: 1_500,
            width,
            audio_heads: width / 64,
            audio_layers: layers.0,
            text_ctx: 448,
            text_layers: layers.1,
            mels,
        };
        ModelFile { has_complete_vocabulary: vocabulary > 50_000, sizes }
    }

    #[test]
    fn published_models_have_their_own_heads_and_others_the_upper_half() {
        let table = [
            (file(51_864, 384, (4, 4), 80), "TinyEn"),
            (file(51_865, 512, (6, 6), 80), "Base"),
            (file(51_866, 1_280, (32, 4), 128), "LargeV3Turbo"),
            (file(51_866, 1_280, (32, 32), 128), "LargeV3"),
            (file(51_865, 1_280, (32, 32), 80), "LargeV2"),
            (file(51_864, 384, (4, 2), 80), "n_top: 1"),
            (file(400, 384, (4, 4), 80), "n_top: 2"),
        ];
        for (file, part) in table {
            let parameters = parameters(&file);
            assert!(format!("{:?}", parameters.mode).contains(part), "{part}: {:?}", parameters.mode);
            assert!(parameters.dtw_mem_size > 16 << 20);
        }
    }
}
