//! L0: logs and metrics: how they are set up and what the metrics are called.
