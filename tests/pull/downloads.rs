//! Downloads from the stand-in hub: what arrives is whole, what breaks goes on, what is wrong is refused.

use std::path::{Path, PathBuf};

use antiphon::config::Config;
use antiphon::models::{FetchError, Fetcher, Hub, Retries, State};

use crate::hub::{Fault, Served, Side, StandIn, sha256};
use crate::place::{Heard, Place, content, ears, fetcher, fetcher_with, pull};

const PATH: &str = "/org/ears/resolve/abc123/a.bin";

#[tokio::test]
async fn a_model_is_pulled_by_way_of_another_server_that_never_hears_the_token() {
    let (hub, place, bytes) = (StandIn::start().await, Place::new(), content(300_000, 1));
    let model = ears(&format!(", bytes = 300000, sha256 = \"{}\"", hub.add(PATH, &bytes)));
    let (fetcher, heard) = (fetcher(&hub), Heard::default());
    let pulled = fetcher.pull(&place.store, &model, &heard).await.expect("it is there");
    assert!(!pulled.was_there && pulled.pinned.is_empty());
    assert_eq!(std::fs::read(place.file()).expect("in place"), bytes);
    assert_eq!(place.store.installed("ears"), State::Whole(pulled.installed));
    assert!(!place.store.dir().join(".parts/ears").exists(), "nothing is left over");
    assert_eq!(
        heard.text(),
        "start ears/a.bin 0 Some(300000)\nstart ears/a.bin 0 Some(300000)\nend ears/a.bin Downloaded"
    );
    let seen = hub.seen();
    assert_eq!(seen.iter().map(|seen| seen.side).collect::<Vec<_>>(), [Side::Hub, Side::Content]);
    assert_eq!(seen[0].token.as_deref(), Some("Bearer hf_secret"));
    assert_eq!(seen[1].token, None, "the content server is somebody else");
    let again = pull(&fetcher, &place, &model).await.expect("whole");
    assert!(again.was_there && hub.seen().is_empty(), "nothing is asked for twice");
}

#[tokio::test]
async fn a_connection_that_is_cut_goes_on_where_it_stopped() {
    let (hub, place, bytes) = (StandIn::start().await, Place::new(), content(500_000, 2));
    let model = ears(&format!(", sha256 = \"{}\"", hub.add(PATH, &bytes)));
    hub.fault(Side::Content, PATH, [Fault::Cut(200_000), Fault::Cut(100_000)]);
    pull(&fetcher(&hub), &place, &model).await.expect("third time lucky");
    assert_eq!(std::fs::read(place.file()).expect("in place"), bytes);
    let seen = hub.seen_by(Side::Content);
    let ranges: Vec<_> = seen.iter().map(|seen| seen.range.as_deref()).collect();
    assert_eq!(ranges, [None, Some("bytes=200000-"), Some("bytes=300000-")]);
    let tag = format!("\"{}\"", sha256(&bytes));
    assert!(seen[1..].iter().all(|seen| seen.if_range.as_deref() == Some(tag.as_str())), "{seen:?}");
}

#[tokio::test]
async fn a_later_pull_goes_on_with_what_an_earlier_one_left() {
    let (hub, place, bytes) = (StandIn::start().await, Place::new(), content(400_000, 3));
    let model = ears(&format!(", sha256 = \"{}\"", hub.add(PATH, &bytes)));
    hub.fault(Side::Content, PATH, [Fault::Cut(150_000)]);
    let once = fetcher_with(&hub, &[], 0);
    let error = pull(&once, &place, &model).await.expect_err("no second try").to_string();
    assert!(
        error.contains("the connection broke") && error.contains("Run the same command again"),
        "{error}"
    );
    assert!(!place.file().exists() && place.store.installed("ears") == State::Absent);
    hub.seen();
    pull(&once, &place, &model).await.expect("goes on");
    assert_eq!(hub.seen_by(Side::Content)[0].range.as_deref(), Some("bytes=150000-"));
    assert_eq!(std::fs::read(place.file()).expect("in place"), bytes);
}

#[tokio::test]
async fn a_file_that_changed_in_between_begins_anew() {
    for linked in [true, false] {
        let (hub, place) = (StandIn::start().await, Place::new());
        let put = |bytes: &[u8]| {
            let tag = format!("\"{}\"", &sha256(bytes)[..20]);
            hub.put(PATH, Served { bytes: bytes.to_vec(), linked: linked.then(|| tag.clone()), tag });
        };
        let side = if linked { Side::Content } else { Side::Hub };
        put(&content(400_000, 4));
        hub.fault(side, PATH, [Fault::Cut(150_000)]);
        let (once, model) = (fetcher_with(&hub, &[], 0), ears(""));
        pull(&once, &place, &model).await.expect_err("cut");
        let new = content(350_000, 5);
        put(&new);
        hub.seen();
        let pulled = pull(&once, &place, &model).await.expect("anew");
        assert_eq!(std::fs::read(place.file()).expect("in place"), new, "nothing of the old file is in it");
        assert_eq!(pulled.pinned, ["a.bin"]);
        assert!(hub.seen_by(side)[0].if_range.is_some(), "it asked whether it is the same");
    }
}

#[tokio::test]
async fn bytes_beyond_the_end_are_no_reason_to_give_up() {
    let (hub, place) = (StandIn::start().await, Place::new());
    let (long, short) = (content(400_000, 6), content(100_000, 6));
    hub.add(PATH, &long);
    hub.fault(Side::Content, PATH, [Fault::Cut(150_000)]);
    let digest = sha256(&short);
    let model = ears(&format!(", sha256 = \"{digest}\""));
    pull(&fetcher_with(&hub, &[], 0), &place, &model).await.expect_err("cut");
    // Same tag, fewer bytes: the range cannot be had.
    let tag = format!("\"{}\"", sha256(&long));
    hub.put(PATH, Served { bytes: short.clone(), linked: Some(tag.clone()), tag });
    pull(&fetcher(&hub), &place, &model).await.expect("from the beginning");
    assert_eq!(std::fs::read(place.file()).expect("in place"), short);
}

#[tokio::test]
async fn a_wrong_checksum_is_refused_and_nothing_of_it_stays() {
    let (hub, place, bytes) = (StandIn::start().await, Place::new(), content(50_000, 7));
    hub.add(PATH, &bytes);
    let wanted = "0".repeat(64);
    let model = ears(&format!(", sha256 = \"{wanted}\""));
    let error = pull(&fetcher(&hub), &place, &model).await.expect_err("another file");
    let FetchError::Checksum { what, found, expected } = &error else { panic!("{error}") };
    assert_eq!(
        (what.as_str(), found.as_str(), expected.as_str()),
        ("ears/a.bin", &*sha256(&bytes), &*wanted)
    );
    assert!(error.to_string().contains("Run the same command again"), "{error}");
    assert_eq!((place.parts().len(), place.file().exists()), (0, false));
    assert_eq!(place.store.installed("ears"), State::Absent);
}

#[tokio::test]
async fn refusals_say_what_to_do_and_are_not_tried_again() {
    let (hub, place) = (StandIn::start().await, Place::new());
    let page = format!("http://{}/org/ears", hub.address);
    for (status, words) in [
        (401, "HF_TOKEN (https://huggingface.co/settings/tokens)"),
        (403, page.as_str()),
        (404, "catalogue of your own"),
        (400, "400"),
    ] {
        hub.fault(Side::Hub, PATH, [Fault::Status(status, None)]);
        let error = pull(&fetcher(&hub), &place, &ears("")).await.expect_err("refused").to_string();
        assert!(error.contains(&status.to_string()) && error.contains(words), "{error}");
        assert_eq!(hub.seen().len(), 1, "{status} is final");
    }
    hub.add(PATH, b"x");
    hub.fault(Side::Content, PATH, [Fault::Status(403, None)]);
    let error = pull(&fetcher(&hub), &place, &ears("")).await.expect_err("refused").to_string();
    assert!(!error.contains("signature"), "an address of a content server is a secret: {error}");
}

#[tokio::test]
async fn what_passes_is_tried_again() {
    let (hub, place, bytes) = (StandIn::start().await, Place::new(), content(1_000, 8));
    let model = ears(&format!(", sha256 = \"{}\"", hub.add(PATH, &bytes)));
    hub.fault(Side::Hub, PATH, [Fault::Status(429, Some("0")), Fault::Status(503, None)]);
    hub.fault(Side::Content, PATH, [Fault::Status(500, None)]);
    let heard = Heard::default();
    fetcher(&hub).pull(&place.store, &model, &heard).await.expect("the fourth");
    assert_eq!(hub.seen_by(Side::Hub).len(), 4);
    assert!(
        heard.text().contains("429, the hub wants fewer requests for 0 s; trying again in 0 s"),
        "{}",
        heard.text()
    );
    assert_eq!(std::fs::read(place.file()).expect("in place"), bytes);
}

#[tokio::test]
async fn a_hub_that_wants_a_long_pause_is_told_of_and_left_alone() {
    let (hub, place) = (StandIn::start().await, Place::new());
    hub.fault(Side::Hub, PATH, [Fault::Status(429, Some("3600"))]);
    let error = pull(&fetcher(&hub), &place, &ears("")).await.expect_err("an hour").to_string();
    assert!(error.contains("fewer requests for 3600 s. Run the same command again then"), "{error}");
    assert_eq!(hub.seen().len(), 1);
    hub.fault(Side::Hub, PATH, vec![Fault::Status(429, None); 9]);
    let error = pull(&fetcher(&hub), &place, &ears("")).await.expect_err("again and again");
    assert!(matches!(error, FetchError::RateLimited { retry_after_s: None, .. }), "{error}");
    assert_eq!(hub.seen().len(), 4, "the first and three more");
}

#[tokio::test]
async fn redirects_in_circles_end() {
    let (hub, place) = (StandIn::start().await, Place::new());
    hub.fault(Side::Hub, PATH, vec![Fault::Redirect(PATH.to_owned()); 20]);
    let error = pull(&fetcher(&hub), &place, &ears("")).await.expect_err("a circle").to_string();
    assert!(error.contains("too many redirects"), "{error}");
}

#[tokio::test]
async fn without_a_checksum_the_first_pull_pins_it() {
    let (hub, place) = (StandIn::start().await, Place::new());
    let small = |bytes: &[u8]| Served { bytes: bytes.to_vec(), tag: "\"git-sha1\"".into(), linked: None };
    hub.put(PATH, small(b"first"));
    let pulled = pull(&fetcher(&hub), &place, &ears("")).await.expect("trusted");
    assert_eq!(pulled.pinned, ["a.bin"]);
    place.store.remove("ears").expect("removable");
    let pulled = pull(&fetcher(&hub), &place, &ears("")).await.expect("the same");
    assert!(pulled.pinned.is_empty(), "it is pinned already");
    place.store.remove("ears").expect("removable");
    hub.put(PATH, small(b"other"));
    let error = pull(&fetcher(&hub), &place, &ears("")).await.expect_err("changed");
    assert!(
        matches!(&error, FetchError::Checksum { found, .. } if found.as_str() == sha256(b"other")),
        "{error}"
    );
    assert!(!place.file().exists());
}

#[tokio::test]
async fn the_hubs_own_checksum_is_held_to_where_the_catalogue_has_none() {
    let (hub, place) = (StandIn::start().await, Place::new());
    let linked = Some(format!("\"{}\"", "0".repeat(64)));
    hub.put(PATH, Served { bytes: b"x".to_vec(), tag: "\"t\"".into(), linked });
    let error = pull(&fetcher(&hub), &place, &ears("")).await.expect_err("not what the hub says");
    assert!(matches!(error, FetchError::Checksum { .. }), "{error}");
}

/// A cache as Hugging Face's tools write it.
fn cache(folder: &Path, bytes: &[u8]) -> PathBuf {
    let repo = folder.join("hub/models--org--ears");
    let blob = repo.join("blobs").join(sha256(bytes));
    for sub in ["blobs", "snapshots/abc123"] {
        std::fs::create_dir_all(repo.join(sub)).expect("writable");
    }
    std::fs::write(&blob, bytes).expect("writable");
    let link = repo.join("snapshots/abc123/a.bin");
    std::os::unix::fs::symlink(Path::new("../../blobs").join(sha256(bytes)), link).expect("writable");
    blob
}

#[tokio::test]
async fn a_file_of_the_hugging_face_cache_is_used_without_network_or_copy() {
    use std::os::unix::fs::MetadataExt;
    let (hub, place, bytes) = (StandIn::start().await, Place::new(), content(10_000, 9));
    let blob = cache(place.folder.path(), &bytes);
    let home = place.folder.path().to_str().expect("UTF-8").to_owned();
    let offline = fetcher_with(&hub, &[("HF_HOME", &home), ("HF_HUB_OFFLINE", "1")], 0);
    for facts in [format!(", sha256 = \"{}\"", sha256(&bytes)), String::new()] {
        pull(&offline, &place, &ears(&facts)).await.expect("from the cache");
        let same = |path: &Path| path.metadata().expect("there").ino();
        assert_eq!(same(&place.file()), same(&blob), "one file with two names");
        place.store.remove("ears").expect("removable");
        assert!(blob.exists(), "the cache keeps its own");
    }
    assert!(hub.seen().is_empty());
    let wanted = hub.add(PATH, b"something else");
    let model = ears(&format!(", sha256 = \"{wanted}\""));
    let error = pull(&offline, &place, &model).await.expect_err("not in the cache").to_string();
    assert!(error.contains("ears/a.bin is not on this machine") && error.contains("--offline"), "{error}");
    let online = fetcher_with(&hub, &[("HF_HOME", &home)], 0);
    let heard = Heard::default();
    online.pull(&place.store, &model, &heard).await.expect("downloaded");
    assert!(heard.text().contains("has another checksum; not used"), "{}", heard.text());
    assert_eq!(std::fs::read(place.file()).expect("in place"), b"something else");
}

#[tokio::test]
async fn a_full_disk_is_told_before_anything_is_downloaded() {
    let (hub, place) = (StandIn::start().await, Place::new());
    let digest = hub.add(PATH, &content(2_000_000, 1));
    let full = || fetcher(&hub).with_free_space(|_| Ok(1_500_000));
    let known = ears(&format!(", bytes = 2000000, sha256 = \"{digest}\""));
    let error = pull(&full(), &place, &known).await.expect_err("too large").to_string();
    assert!(error.contains("has 1.5 MB free, and 2.0 MB are needed. Make room"), "{error}");
    assert!(hub.seen().is_empty(), "the catalogue knows the size");
    let error = pull(&full(), &place, &ears("")).await.expect_err("too large");
    assert!(matches!(error, FetchError::DiskFull { needed: 2_000_000, .. }), "the server knows it: {error}");
}

#[tokio::test]
async fn two_pulls_of_one_model_download_it_once() {
    let (hub, place, bytes) = (StandIn::start().await, Place::new(), content(100_000, 3));
    let model = ears(&format!(", sha256 = \"{}\"", hub.add(PATH, &bytes)));
    let (one, other) = (fetcher(&hub), fetcher(&hub));
    let heard = Heard::default();
    let both = tokio::join!(pull(&one, &place, &model), other.pull(&place.store, &model, &heard));
    let were_there = [both.0.expect("one").was_there, both.1.expect("other").was_there];
    assert_eq!(were_there, [false, true]);
    assert_eq!(hub.seen_by(Side::Content).len(), 1);
    assert!(heard.text().contains("another process is pulling ears; waiting"), "{}", heard.text());
}

#[tokio::test]
async fn damage_is_mended_by_another_pull() {
    let (hub, place, bytes) = (StandIn::start().await, Place::new(), content(1_000, 3));
    let model = ears(&format!(", sha256 = \"{}\"", hub.add(PATH, &bytes)));
    pull(&fetcher(&hub), &place, &model).await.expect("pulled");
    std::fs::write(place.file(), content(1_000, 4)).expect("writable");
    pull(&fetcher(&hub), &place, &model).await.expect("mended");
    assert_eq!(std::fs::read(place.file()).expect("in place"), bytes);
}

#[tokio::test]
async fn a_server_that_cannot_prove_who_it_is_is_not_believed() {
    let scripted = "stt = [{ kind = \"scripted\" }]\nllm = [{ kind = \"scripted\" }]\n\
                    tts = [{ kind = \"scripted\" }]\nvad = { kind = \"scripted\" }";
    let engines = toml::from_str(scripted).expect("scripted engines");
    let mut config = Config { engines, ..Config::default() };
    config.server.bind = "127.0.0.1:0".parse().expect("an address");
    config.store.kind = antiphon::store::StoreKind::Memory;
    config.server.tls.listen = "127.0.0.1:0".into();
    config.server.tls.self_signed = true;
    let server = antiphon::app::Server::start(config).await.expect("it starts");
    let endpoint = format!("https://{}", server.https_address().expect("HTTPS"));
    let env = [("HF_ENDPOINT".to_owned(), endpoint)];
    let fetcher = Fetcher::new(Hub::of_env(&env).expect("valid"), Retries::default()).expect("a client");
    let place = Place::new();
    let error = pull(&fetcher, &place, &ears("")).await.expect_err("self-signed");
    assert!(matches!(error, FetchError::Tls { .. }), "{error}");
    assert!(error.to_string().contains("SSL_CERT_FILE"), "{error}");
    server.stop().await.expect("ends");
}
