//! What every store does, on all of them; and what the file of `sqlite` adds.

use std::path::Path;

use super::*;

const GRACE: Duration = Duration::from_secs(300);
const NOW: u64 = 1_000_000;

fn hash(of: u8) -> TokenHash {
    TokenHash([of; 32])
}

fn config(folder: &Path) -> StoreConfig {
    StoreConfig { path: folder.join("deep/er/sessions.sqlite"), ..StoreConfig::default() }
}

/// Each kind of store, with the folder that it lives in.
fn stores(change: impl Fn(&mut StoreConfig)) -> Vec<(Arc<dyn SnapshotStore>, tempfile::TempDir)> {
    let store = |kind| {
        let folder = tempfile::tempdir().expect("a folder");
        let mut config = StoreConfig { kind, ..config(folder.path()) };
        change(&mut config);
        (open(&config, GRACE, NOW).expect("it opens").expect("it is on"), folder)
    };
    [StoreKind::Sqlite, StoreKind::Memory].map(store).into()
}

fn part(name: &str, text: &str) -> Change {
    let parts = [(name.to_owned(), Some(Part::Bytes(text.into())))].into();
    Change { parts, ..Change::default() }
}

fn begin(token: u8, owner: &str) -> Change {
    let begin = Some(Begin { token: hash(token), owner: owner.to_owned() });
    Change { begin, keep: Some(Keep::Open { until_ms: NOW + 1_000_000 }), ..part("head", "h") }
}

fn ended(until_ms: u64) -> Change {
    Change { keep: Some(Keep::Ended { until_ms }), ..Change::default() }
}

fn texts(stored: &Stored) -> Vec<(&str, &str)> {
    let text = |part| std::str::from_utf8(part).expect("text");
    stored.parts.iter().map(|(name, part)| (name.as_str(), text(part))).collect()
}

async fn claimed(store: &Arc<dyn SnapshotStore>, token: u8, next: u8) -> Option<Stored> {
    store.claim(hash(token), hash(next), NOW).await.expect("it answers")
}

#[tokio::test]
async fn what_is_saved_is_claimed_with_its_token_and_no_other() {
    for (store, _folder) in stores(|_| {}) {
        for change in [begin(1, "anna"), part("a", "1"), part("b", "2"), part("a", "3")] {
            store.save("s1", change).expect("taken");
        }
        store.save("s2", begin(2, "ben")).expect("taken");
        let found = store.find(hash(1), NOW).await.expect("it answers");
        assert_eq!(found, Some(Found { session: "s1".to_owned(), owner: "anna".to_owned() }));
        assert_eq!(claimed(&store, 9, 10).await, None);
        let stored = claimed(&store, 1, 11).await.expect("it is there");
        assert_eq!(texts(&stored), [("a", "3"), ("b", "2"), ("head", "h")]);
        assert_eq!(claimed(&store, 2, 12).await.expect("it is there").found.session, "s2");
    }
}

#[tokio::test]
async fn the_old_token_opens_until_the_new_one_is_confirmed() {
    for (store, _folder) in stores(|_| {}) {
        store.save("s", begin(1, "")).expect("taken");
        claimed(&store, 1, 2).await.expect("the first time");
        claimed(&store, 1, 3).await.expect("the answer was lost, so once more");
        assert_eq!(claimed(&store, 2, 4).await, None, "the one that never arrived");
        store.save("s", Change { confirmed: true, ..Change::default() }).expect("taken");
        assert_eq!(claimed(&store, 1, 5).await, None, "it was used");
        claimed(&store, 3, 6).await.expect("the new one");
    }
}

#[tokio::test]
async fn sessions_expire_and_go_when_deleted() {
    for (store, _folder) in stores(|_| {}) {
        for (session, token) in [("ends", 1), ("runs", 2), ("gone", 3)] {
            store.save(session, begin(token, "")).expect("taken");
        }
        store.save("ends", ended(NOW + 10)).expect("taken");
        store.delete("gone");
        store.save("gone", part("late", "x")).expect("taken, and of no effect");
        assert!(store.find(hash(1), NOW + 9).await.expect("it answers").is_some());
        assert!(store.find(hash(1), NOW + 10).await.expect("it answers").is_none(), "before it is deleted");
        assert!(store.find(hash(3), NOW).await.expect("it answers").is_none());
        store.expire(NOW + 10);
        store.flush().await.expect("it answers");
        assert_eq!(store.status().sessions, 1);
    }
}

#[tokio::test]
async fn bounds_are_kept_and_ended_sessions_go_first() {
    for (store, _folder) in stores(|config| (config.max_sessions, config.max_bytes) = (3, 1_048_576)) {
        for token in 1..=5 {
            store.save(&format!("s{token}"), begin(token, "")).expect("taken");
        }
        store.save("s4", ended(NOW + 50)).expect("taken");
        store.save("s2", ended(NOW + 40)).expect("taken");
        store.flush().await.expect("it answers");
        store.expire(NOW);
        store.flush().await.expect("it answers");
        assert_eq!(store.status().sessions, 3);
        for (token, kept) in [(1, true), (2, false), (3, true), (4, false), (5, true)] {
            assert_eq!(store.find(hash(token), NOW).await.expect("it answers").is_some(), kept, "{token}");
        }
        let big = "x".repeat(400_000);
        for token in [1, 3, 5] {
            store.save(&format!("s{token}"), part("big", &big)).expect("taken");
        }
        store.flush().await.expect("there is a quarter to spare");
        store.expire(NOW);
        store.flush().await.expect("it answers");
        let status = store.status();
        assert!(status.bytes <= 1_048_576 && status.sessions == 2, "{status:?}");
    }
}

#[tokio::test]
async fn audio_is_kept_as_16_bit() {
    for (store, _folder) in stores(|_| {}) {
        let samples: Arc<[f32]> = Arc::from([0.0, 0.5, -0.5]);
        let parts = [("turn".to_owned(), Some(Part::Samples(samples)))].into();
        store.save("s", Change { parts, ..begin(1, "") }).expect("taken");
        let stored = claimed(&store, 1, 2).await.expect("it is there");
        let bytes: Vec<i16> =
            stored.parts["turn"].chunks(2).map(|pair| i16::from_le_bytes([pair[0], pair[1]])).collect();
        assert_eq!(bytes, crate::audio::pcm::to_i16(&[0.0, 0.5, -0.5]));
    }
}

fn reopen(config: &StoreConfig, now_ms: u64) -> Arc<dyn SnapshotStore> {
    open(config, GRACE, now_ms).expect("it opens").expect("it is on")
}

#[tokio::test]
async fn the_file_outlives_the_store_and_open_sessions_have_the_grace_time_from_then() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = config(folder.path());
    let store = reopen(&config, NOW);
    store.save("ran", begin(1, "anna")).expect("taken");
    store.save("ended", begin(2, "anna")).expect("taken");
    store.save("ended", ended(NOW + 5_000)).expect("taken");
    drop(store); // writes what waits
    let later = NOW + 20_000;
    let store = reopen(&config, later);
    assert_ne!(store.status().sessions, 0, "what it holds is told from the start");
    assert!(store.find(hash(2), later).await.expect("it answers").is_none());
    let grace_end = later + 300_000;
    assert!(store.find(hash(1), grace_end - 1).await.expect("it answers").is_some());
    assert!(store.find(hash(1), grace_end).await.expect("it answers").is_none());
}

#[tokio::test]
async fn the_file_is_private_and_holds_no_token() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().expect("a folder");
    let config = config(folder.path());
    let store = reopen(&config, NOW);
    store.save("s", begin(1, "")).expect("taken");
    store.flush().await.expect("it answers");
    for entry in std::fs::read_dir(config.path.parent().expect("a folder")).expect("readable") {
        let mode = entry.expect("an entry").metadata().expect("readable").permissions().mode();
        assert_eq!(mode & 0o077, 0, "others can read it: {mode:o}");
    }
}

#[test]
fn a_file_that_cannot_be_used_says_what_to_do() {
    let folder = tempfile::tempdir().expect("a folder");
    let expect = |config: &StoreConfig, words: &str| {
        let error = open(config, GRACE, NOW).expect_err("it cannot open").to_string();
        assert!(error.contains(words) && error.contains("store.path"), "{words} is missing from: {error}");
    };
    let damaged = StoreConfig { path: folder.path().join("damaged"), ..StoreConfig::default() };
    std::fs::write(&damaged.path, "certainly no database, and more than a header long".repeat(100))
        .expect("writable");
    expect(&damaged, "damaged");

    let nowhere = StoreConfig { path: "/proc/nothing/sessions".into(), ..StoreConfig::default() };
    expect(&nowhere, "/proc/nothing/sessions");

    let config = config(folder.path());
    let store = reopen(&config, NOW);
    expect(&config, "another process uses it");
    drop(store);

    let other = rusqlite::Connection::open(&config.path).expect("it opens");
    other.execute_batch("PRAGMA user_version = 99").expect("it writes");
    drop(other);
    expect(&config, "schema 99");

    let foreign = StoreConfig { path: folder.path().join("foreign"), ..StoreConfig::default() };
    let other = rusqlite::Connection::open(&foreign.path).expect("it opens");
    other.execute_batch("CREATE TABLE recipes(name TEXT)").expect("it writes");
    drop(other);
    expect(&foreign, "not of Antiphon");
}

#[test]
fn a_file_damaged_inside_is_found_at_the_start() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = config(folder.path());
    let store = reopen(&config, NOW);
    for token in 0..50 {
        let change = Change { parts: part("a", &"y".repeat(3_000)).parts, ..begin(token, "") };
        store.save(&format!("s{token}"), change).expect("taken");
    }
    drop(store);
    let mut bytes = std::fs::read(&config.path).expect("readable");
    let half = bytes.len() / 2;
    bytes[4_096..half].fill(0xa5);
    std::fs::write(&config.path, bytes).expect("writable");
    let error = open(&config, GRACE, NOW).expect_err("it is damaged");
    assert!(matches!(error, StoreError::Damaged { .. }), "{error}");
}

#[tokio::test]
async fn a_full_disk_makes_changes_wait_and_nothing_is_lost_when_there_is_room_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = StoreConfig { max_bytes: 1_048_576, ..config(folder.path()) };
    let store = reopen(&config, NOW);
    store.save("small", begin(1, "")).expect("taken");
    store.save("big", begin(2, "")).expect("taken");
    store.save("big", part("a", &"x".repeat(1_200_000))).expect("taken");
    store.flush().await.expect("within the quarter");
    store.save("small", part("b", &"y".repeat(400_000))).expect("taken");
    assert!(matches!(store.flush().await, Err(StoreError::Unavailable { .. })));
    let status = store.status();
    assert!(status.failing.is_some() && status.pending_sessions == 1, "{status:?}");
    store.delete("big");
    store.flush().await.expect("there is room");
    assert_eq!(store.status().failing, None);
    let stored = claimed(&store, 1, 3).await.expect("it is there");
    assert_eq!(stored.parts["b"].len(), 400_000);
}
