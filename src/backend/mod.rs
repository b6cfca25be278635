//! L2: the engines behind the traits of `engine`, and the catalog that builds them from configuration.
