//! The models that come with the repository are the ones that `models/starter/manifest.toml` names, byte for byte.

use std::path::Path;

use sha2::{Digest, Sha256};

#[test]
fn every_file_of_the_manifest_is_there_and_whole() {
    let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/starter");
    let manifest =
        std::fs::read_to_string(models.join("manifest.toml")).expect("models/starter/manifest.toml");
    let manifest: toml::Table = manifest.parse().expect("TOML");
    let listed = manifest["model"].as_array().expect("models");
    let files = listed.iter().flat_map(|model| model["files"].as_array().expect("files"));
    let mut checked = 0;
    for file in files {
        let path = file["path"].as_str().expect("a path");
        let data =
            std::fs::read(models.join(path)).unwrap_or_else(|error| panic!("models/starter/{path}: {error}"));
        let digest: String = Sha256::digest(&data).iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(
            (data.len() as i64, digest.as_str()),
            (file["bytes"].as_integer().expect("bytes"), file["sha256"].as_str().expect("a checksum")),
            "models/starter/{path} is not the file that models/starter/manifest.toml names; after `make starter` \
             run models/starter/manifest.py"
        );
        checked += 1;
    }
    assert!(checked >= 6, "only {checked} files are listed");
}
