use super::*;

const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

fn digest(digits: &str) -> Sha256Hex {
    Sha256Hex::try_from(digits.to_owned()).expect("a digest")
}

/// A store with the model `a` of one file, `deep/a.bin` = "abc".
fn store() -> (tempfile::TempDir, Store, Installed) {
    let folder = tempfile::tempdir().expect("a folder");
    let store = Store::new(folder.path().join("models"));
    let aside = folder.path().join("aside");
    std::fs::write(&aside, "abc").expect("writable");
    move_into_place(&aside, &store.folder("a").join("deep/a.bin")).expect("the same file system");
    let file =
        InstalledFile { path: "deep/a.bin".into(), bytes: 3, sha256: digest(ABC), source: "test".into() };
    let installed = Installed {
        name: "a".into(),
        kind: Kind::Stt,
        main: "deep/a.bin".into(),
        licence: "MIT".into(),
        files: vec![file],
    };
    store.write_record(&installed).expect("writable");
    (folder, store, installed)
}

#[test]
fn a_model_is_installed_from_its_record_on() {
    let (_folder, store, installed) = store();
    assert_eq!(store.installed("a"), State::Whole(installed.clone()));
    assert_eq!(store.all(), [installed]);
    assert_eq!(store.installed("b"), State::Absent);
    let file = store.folder("a").join("deep/a.bin");
    std::fs::write(&file, "ab").expect("writable");
    assert_eq!(store.installed("a"), State::Broken(file));
}

#[test]
fn verify_finds_what_changed() {
    let (_folder, store, installed) = store();
    let mut seen = 0;
    assert_eq!(store.verify(&installed, |bytes| seen += bytes), []);
    assert_eq!(seen, 3);
    let file = store.folder("a").join("deep/a.bin");
    std::fs::write(&file, "abd").expect("writable");
    assert_eq!(store.installed("a"), State::Whole(installed.clone()), "sizes alone say nothing of it");
    let found = store.verify(&installed, |_| {});
    assert!(matches!(&found[..], [Damage::Changed { path, .. }] if path == "deep/a.bin"), "{found:?}");
    std::fs::remove_file(&file).expect("there");
    assert!(matches!(&store.verify(&installed, |_| {})[..], [Damage::Unreadable { .. }]));
}

#[test]
fn removing_takes_the_parts_along() {
    let (_folder, store, _) = store();
    std::fs::create_dir_all(store.parts("a")).expect("writable");
    assert!(store.remove("a").expect("removable"));
    assert!(!store.folder("a").exists() && !store.parts("a").exists());
    assert!(!store.remove("a").expect("nothing to do"));
}

#[test]
fn a_lock_is_held_by_one_at_a_time() {
    let (_folder, store, _) = store();
    let held = Lock::try_take(&store, "a").expect("lockable");
    assert!(held.is_some());
    assert!(Lock::try_take(&store, "a").expect("lockable").is_none());
    assert!(Lock::try_take(&store, "b").expect("lockable").is_some(), "each model has its own");
    drop(held);
    assert!(Lock::try_take(&store, "a").expect("lockable").is_some());
}

#[test]
fn pins_are_kept_and_damage_is_told() {
    let (_folder, store, _) = store();
    let pins = Pins::of(&store);
    assert_eq!(pins.get("hub:o/r@main/f").expect("readable"), None);
    pins.set("hub:o/r@main/f", &digest(ABC)).expect("writable");
    pins.set("hub:o/r@main/g", &digest(&"0".repeat(64))).expect("writable");
    assert_eq!(Pins::of(&store).get("hub:o/r@main/f").expect("readable"), Some(digest(ABC)));
    std::fs::write(store.dir().join(".pins.toml"), "f = \"short\"").expect("writable");
    let error = pins.get("f").expect_err("damaged").to_string();
    assert!(error.contains(".pins.toml is damaged"), "{error}");
}

#[test]
fn a_full_disk_is_told_apart() {
    let error = |kind: io::ErrorKind| StoreError::io("write", Path::new("f"))(kind.into());
    assert!(error(io::ErrorKind::StorageFull).is_full());
    assert!(!error(io::ErrorKind::PermissionDenied).is_full());
}
