//! Where the store lies, and what `models:NAME` in a configuration stands for.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::catalogue::{Catalogue, CatalogueError};
use super::store::{State, Store};

/// What a value of the configuration begins with that names a model of the store.
pub const MODELS_SCHEME: &str = "models:";
/// The variable that names the store where the configuration does not.
const VARIABLE: &str = "ANTIPHON_MODELS";

/// Configuration of the store.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default)]
pub struct ModelsConfig {
    /// The store's folder. Empty by default: `ANTIPHON_MODELS`, else `antiphon/models` in `XDG_DATA_HOME` or in
    /// `~/.local/share`.
    pub dir: PathBuf,
    /// A catalogue of one's own beside the built-in one. Empty by default: none.
    pub catalogue: PathBuf,
}

impl ModelsConfig {
    /// The store, with the environment of the process.
    pub fn store(&self, env: &[(String, String)]) -> Store {
        let var = |name: &str| {
            env.iter().find(|(key, value)| key == name && !value.is_empty()).map(|(_, v)| PathBuf::from(v))
        };
        let given = Some(self.dir.clone()).filter(|dir| !dir.as_os_str().is_empty());
        let data = || var("XDG_DATA_HOME").or_else(|| var("HOME").map(|home| home.join(".local/share")));
        let default = || data().unwrap_or_default().join("antiphon/models");
        Store::new(given.or_else(|| var(VARIABLE)).unwrap_or_else(default))
    }

    /// The built-in catalogue and the one of this configuration over it.
    pub fn read_catalogue(&self) -> Result<Catalogue, CatalogueError> {
        let built_in = Catalogue::built_in()?;
        if self.catalogue.as_os_str().is_empty() {
            return Ok(built_in);
        }
        let origin = self.catalogue.display().to_string();
        let text = std::fs::read_to_string(&self.catalogue).map_err(|error| CatalogueError::Form {
            origin: origin.clone(),
            reason: format!("it cannot be read: {error}; `models.catalogue` names it"),
        })?;
        let mine = Catalogue::parse(&origin, &text, &built_in)?;
        Ok(built_in.with(mine.rooted(self.catalogue.parent().unwrap_or(Path::new("")))))
    }
}

/// The path that `models:NAME` or `models:NAME/FILE` stands for; `None` where `value` is no such name. An error is
/// what is wrong, and what to do about it.
pub fn resolve(
    value: &str,
    store: &Store,
    catalogue: impl FnOnce() -> Result<Catalogue, CatalogueError>,
) -> Option<Result<PathBuf, (String, String)>> {
    let (name, file) = parts(value.strip_prefix(MODELS_SCHEME)?);
    Some(match store.installed(name) {
        State::Whole(installed) => match file {
            None => Ok(store.folder(name).join(&installed.main)),
            Some(file) => within(&store.folder(name), file, name),
        },
        State::Broken(path) => Err((
            format!("the model `{name}` is not whole: {} is missing or changed", path.display()),
            format!("run `antiphon models pull {name}`"),
        )),
        State::Absent => Err(absent(name, store, catalogue())),
    })
}

fn parts(name: &str) -> (&str, Option<&str>) {
    name.split_once('/').map_or((name, None), |(name, file)| (name, Some(file)))
}

fn within(folder: &Path, file: &str, name: &str) -> Result<PathBuf, (String, String)> {
    let path = folder.join(file);
    if path.exists() && !file.split('/').any(|part| part == "..") {
        return Ok(path);
    }
    Err((format!("the model `{name}` has no `{file}`"), format!("see {}", folder.display())))
}

fn absent(name: &str, store: &Store, catalogue: Result<Catalogue, CatalogueError>) -> (String, String) {
    match catalogue {
        Ok(catalogue) if catalogue.model(name).is_none() => {
            (format!("there is no model `{name}`"), catalogue.unknown(name).to_string())
        }
        Ok(_) => (
            format!("the model `{name}` is not installed in {}", store.dir().display()),
            format!("run `antiphon models pull {name}`"),
        ),
        Err(error) => (format!("the model `{name}` is not installed"), error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn the_store_lies_where_the_nearest_setting_says() {
        let all = [("HOME", "/h"), ("XDG_DATA_HOME", "/x"), ("ANTIPHON_MODELS", "/m")];
        let dir = |config: &str, pairs: &[(&str, &str)]| {
            let config = ModelsConfig { dir: config.into(), ..ModelsConfig::default() };
            config.store(&env(pairs)).dir().display().to_string()
        };
        assert_eq!(dir("/key", &all), "/key");
        assert_eq!(dir("", &all), "/m");
        assert_eq!(dir("", &all[..2]), "/x/antiphon/models");
        assert_eq!(dir("", &all[..1]), "/h/.local/share/antiphon/models");
        assert_eq!(dir("", &[("HOME", "/h"), ("XDG_DATA_HOME", "")]), "/h/.local/share/antiphon/models");
    }

    #[test]
    fn only_names_of_the_store_are_resolved() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::new(folder.path().to_path_buf());
        let ask = |value: &str| resolve(value, &store, Catalogue::built_in);
        assert_eq!(ask("models/starter/llm"), None);
        let (what, advice) = ask("models:whisper-base").expect("a name").expect_err("not installed");
        assert!(what.contains("`whisper-base` is not installed"), "{what}");
        assert_eq!(advice, "run `antiphon models pull whisper-base`");
        let (what, advice) = ask("models:wisper-base").expect("a name").expect_err("unknown");
        assert_eq!(what, "there is no model `wisper-base`");
        assert!(advice.contains("did you mean `whisper-base`?"), "{advice}");
    }
}
