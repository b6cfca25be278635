//! Messages over a pipe: the length in four bytes, the most significant first, then MessagePack. Knows no message.

use std::io::{self, ErrorKind, Read, Write};

use serde::Serialize;
use serde::de::DeserializeOwned;

/// The longest message: a quarter of an hour of speech. More than that is a pipe that something else writes to.
pub(super) const MAX_FRAME_BYTES: usize = 64 << 20;
/// Room that is made for a message before any of it has come: one that only claims to be long costs nothing.
const FIRST_BYTES: usize = 64 << 10;

/// Writes a message; `InvalidInput` where it is too long, and nothing was written.
pub(super) fn write<T: Serialize>(out: &mut impl Write, message: &T) -> io::Result<()> {
    let mut frame = vec![0; 4];
    rmp_serde::encode::write(&mut frame, message)
        .map_err(|error| io::Error::new(ErrorKind::InvalidInput, error))?;
    let len = frame.len() - 4;
    if len > MAX_FRAME_BYTES {
        let reason = format!("a message of {len} bytes, at most {MAX_FRAME_BYTES}");
        return Err(io::Error::new(ErrorKind::InvalidInput, reason));
    }
    let len = u32::try_from(len).unwrap_or(u32::MAX);
    frame[..4].copy_from_slice(&len.to_be_bytes());
    out.write_all(&frame)?;
    out.flush()
}

/// The next message; `None` where the pipe ended between two.
pub(super) fn read<T: DeserializeOwned>(input: &mut impl Read) -> io::Result<Option<T>> {
    let mut len = [0; 4];
    match input.read(&mut len[..1]) {
        Ok(0) => return Ok(None),
        Ok(_) => input.read_exact(&mut len[1..])?,
        Err(error) if error.kind() == ErrorKind::Interrupted => return read(input),
        Err(error) => return Err(error),
    }
    let len = u32::from_be_bytes(len) as usize;
    if len > MAX_FRAME_BYTES {
        let reason = format!("a message of {len} bytes, at most {MAX_FRAME_BYTES}");
        return Err(io::Error::new(ErrorKind::InvalidData, reason));
    }
    let mut frame = Vec::with_capacity(len.min(FIRST_BYTES));
    if input.take(len as u64).read_to_end(&mut frame)? < len {
        return Err(ErrorKind::UnexpectedEof.into());
    }
    rmp_serde::from_slice(&frame).map(Some).map_err(|error| io::Error::new(ErrorKind::InvalidData, error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_that_is_cut_or_too_long_is_an_error_and_an_end_between_two_is_none() {
        let mut pipe = Vec::new();
        write(&mut pipe, &("one", 2u8)).expect("a Vec takes all");
        let whole = pipe.len();
        let mut reader = pipe.as_slice();
        assert_eq!(read::<(String, u8)>(&mut reader).expect("whole"), Some(("one".to_owned(), 2)));
        assert_eq!(read::<(String, u8)>(&mut reader).expect("an end"), None);
        for cut in 1..whole {
            let error = read::<(String, u8)>(&mut &pipe[..cut]).expect_err("cut");
            assert_eq!(error.kind(), ErrorKind::UnexpectedEof, "{cut}");
        }
        let noise = read::<String>(&mut "GGML: loading\n".as_bytes()).expect_err("not ours");
        assert!(noise.to_string().contains("bytes, at most"), "{noise}");
        let error =
            write(&mut pipe, &serde_bytes::ByteBuf::from(vec![0; MAX_FRAME_BYTES])).expect_err("long");
        assert_eq!((error.kind(), pipe.len()), (ErrorKind::InvalidInput, whole));
    }
}
