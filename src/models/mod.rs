//! L2: models by name: the catalogue of those that are known, the store on disk, and how files come into it.
//!
//! Used by the command line and by the configuration (a value `models:NAME` stands for a path in the store). Files
//! are read, hashed and written where the caller runs, so no server task calls [`Fetcher`]. Knows no engine, no pool
//! and no other module of the crate; environment variables are handed in.
//!
//! Read [`Catalogue`] first, then [`Store`], then [`Fetcher`].

mod catalogue;
mod digest;
mod fetch;
mod place;
mod store;

pub use catalogue::{Bundle, Catalogue, CatalogueError, Device, Kind, Model, ModelFile, Source};
pub use digest::Sha256Hex;
pub use fetch::{FetchError, Fetcher, How, Hub, Progress, Pulled, Retries};
pub use place::{MODELS_SCHEME, ModelsConfig, resolve};
pub use store::{Damage, Installed, InstalledFile, State, Store, StoreError};
