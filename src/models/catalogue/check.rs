//! Judges entries: names and paths that are safe as files, sources for all, bundles of models that there are.

use std::collections::BTreeSet;

use super::{Catalogue, Model, Source};

/// The first entry that cannot be, and why.
pub(super) fn check(catalogue: &Catalogue, base: &Catalogue) -> Result<(), (String, String)> {
    let mut names = BTreeSet::new();
    let entries = catalogue.models.iter().map(|model| &model.name);
    for name in entries.chain(catalogue.bundles.iter().map(|bundle| &bundle.name)) {
        let problem = check_name(name).err();
        let problem = problem.or_else(|| (!names.insert(name)).then(|| "the name is taken".to_owned()));
        if let Some(reason) = problem {
            return Err((name.clone(), reason));
        }
    }
    for model in &catalogue.models {
        check_model(model).map_err(|reason| (model.name.clone(), reason))?;
    }
    for bundle in &catalogue.bundles {
        for name in &bundle.models {
            if catalogue.model(name).or_else(|| base.model(name)).is_none() {
                return Err((bundle.name.clone(), format!("there is no model `{name}`")));
            }
        }
    }
    Ok(())
}

/// A name is a folder's name, and never one that is hidden.
fn check_name(name: &str) -> Result<(), String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if name.starts_with(|c: char| c.is_ascii_alphanumeric()) && name.chars().all(plain) && name.len() <= 100 {
        Ok(())
    } else {
        Err("a name begins with a letter or digit and has letters, digits, `-`, `_` and `.`".to_owned())
    }
}

fn check_model(model: &Model) -> Result<(), String> {
    if model.files.is_empty() {
        return Err("it has no files".to_owned());
    }
    let mut paths = BTreeSet::new();
    for file in &model.files {
        check_path(&file.path)?;
        if !paths.insert(file.path.as_str()) {
            return Err(format!("`{}` is there twice", file.path));
        }
        match model.source_of(file) {
            None => return Err(format!("`{}` has no source", file.path)),
            Some(Source::Folder(_)) => {}
            Some(_) => check_path(file.from())?,
        }
    }
    if model.main.is_empty() || paths.contains(model.main.as_str()) {
        return Ok(());
    }
    Err(format!("`main` = \"{}\" is none of its files", model.main))
}

/// A path stays within its folder.
fn check_path(path: &str) -> Result<(), String> {
    let is_plain = |part: &str| !part.is_empty() && !part.starts_with('.') && !part.contains(['\\', '\0']);
    if path.split('/').all(is_plain) {
        Ok(())
    } else {
        Err(format!("`{path}` is no path within the model's folder"))
    }
}
