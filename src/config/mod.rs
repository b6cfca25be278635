//! L5: configuration: TOML file, environment, flags; validated whole.
