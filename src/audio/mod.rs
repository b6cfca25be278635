//! L0: samples: formats and codecs, resampling, buffers, WAV.
