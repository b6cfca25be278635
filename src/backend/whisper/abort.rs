//! The one piece of foreign-function code: whisper.cpp's abort hook.
//!
//! whisper-rs has a safe form of it, which reads a closure of one type as another and so aborts every call at
//! once (seen with 0.16.0, three runs of three). This is the raw hook with a function of our own.

use std::ffi::c_void;

use whisper_rs::{FullParams, WhisperError, WhisperState};

use crate::backend::stt_calls::Answer;
use crate::engine::CancelFlag;

/// When to give a call up.
#[derive(Debug)]
pub(super) struct Abort<'a> {
    /// The caller's flag.
    pub(super) cancel: &'a CancelFlag,
    /// Closed when the caller has gone.
    pub(super) answer: &'a Answer,
}

impl Abort<'_> {
    pub(super) fn is_due(&self) -> bool {
        self.cancel.is_cancelled() || self.answer.is_closed()
    }
}

/// Runs the model over `audio`, giving up when `abort` is due. whisper.cpp asks at the end of the encoder and of
/// each decoder step, not within one.
#[expect(unsafe_code, reason = "the abort hook is only reachable through raw pointers")]
pub(super) fn run(
    state: &mut WhisperState,
    mut params: FullParams<'_, '_>,
    audio: &[f32],
    abort: &Abort<'_>,
) -> Result<(), WhisperError> {
    let data = std::ptr::from_ref(abort).cast_mut().cast::<c_void>();
    // SAFETY: `params` is used for this one call, which is over before `abort`, and the flag and channel that it
    // borrows, go out of scope. The hook only reads them, and both may be read from any thread.
    unsafe {
        params.set_abort_callback(Some(is_due));
        params.set_abort_callback_user_data(data);
    }
    state.full(params, audio)
}

/// Called by whisper.cpp. Must not unwind: both reads are plain atomic loads.
#[expect(unsafe_code, reason = "the pointer comes back from C")]
unsafe extern "C" fn is_due(data: *mut c_void) -> bool {
    // SAFETY: `data` is what `run` gave, and `run` has not returned.
    let abort = unsafe { &*data.cast_const().cast::<Abort<'_>>() };
    abort.is_due()
}
