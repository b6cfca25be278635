use super::*;

const ONE: &str = r#"
    [[model]]
    name = "a"
    kind = "stt"
    about = "A"
    languages = ["en"]
    licence = "MIT"
    source = { hub = "o/r", revision = "main" }
    main = "a.bin"
    files = [{ path = "a.bin", from = "deep/a.bin", bytes = 7 }]
    engine = { kind = "whisper", language = "en", sampling = { top_k = 20 } }
"#;

fn parse(text: &str) -> Result<Catalogue, CatalogueError> {
    Catalogue::parse("test.toml", text, &Catalogue::default())
}

#[test]
fn the_built_in_catalogue_is_whole() {
    let catalogue = Catalogue::built_in().expect("it is checked in");
    for kind in [Kind::Stt, Kind::Llm, Kind::Tts, Kind::Vad, Kind::Turn] {
        assert!(catalogue.models.iter().any(|model| model.kind == kind), "{kind:?}");
    }
    let bundles: Vec<&str> = catalogue.bundles.iter().map(|bundle| bundle.name.as_str()).collect();
    assert_eq!(bundles, ["cpu-en", "cpu-multilingual", "gpu-16gb"]);
    for model in &catalogue.models {
        assert!(model.size().0 > 1_000_000, "{} has a size that people can plan with", model.name);
    }
}

#[test]
fn names_of_models_and_bundles_choose_each_model_once() {
    let catalogue = Catalogue::built_in().expect("valid");
    let names = ["cpu-en", "whisper-base.en", "whisper-tiny.en"].map(str::to_owned);
    let chosen: Vec<&str> =
        catalogue.choose(&names).expect("known").iter().map(|model| model.name.as_str()).collect();
    let expected = ["whisper-base.en", "qwen2.5-0.5b", "kokoro-82m", "smart-turn-v3", "whisper-tiny.en"];
    assert_eq!(chosen, expected);
    let error = catalogue.choose(&["wisper-base".to_owned()]).expect_err("mistyped").to_string();
    assert!(error.contains("did you mean `whisper-base`?"), "{error}");
    let error = catalogue.choose(&["xyz".to_owned()]).expect_err("unknown").to_string();
    assert!(!error.contains("did you mean") && error.contains("antiphon models list"), "{error}");
}

#[test]
fn settings_are_a_section_of_a_configuration_file() {
    let catalogue = parse(ONE).expect("valid");
    let expected = "[[engines.stt]]\nkind = \"whisper\"\nmodel = \"models:a\"\nlanguage = \"en\"\n\
                    sampling = { top_k = 20 }\n";
    assert_eq!(catalogue.models[0].settings(), expected);
}

#[test]
fn sizes_and_memory_say_how_sure_they_are() {
    let mut model = parse(ONE).expect("valid").models.remove(0);
    assert_eq!((model.size(), model.memory()), ((7, true), (7, false)));
    model.ram_mb = Some(2);
    assert_eq!(model.memory(), (2_000_000, true));
    (model.files[0].bytes, model.size_mb) = (None, Some(3));
    assert_eq!(model.size(), (3_000_000, false));
}

#[test]
fn a_catalogue_of_ones_own_adds_and_replaces() {
    let mine = parse(&ONE.replace("\"A\"", "\"mine\"")).expect("valid");
    let all = parse(ONE).expect("valid").with(mine);
    assert_eq!((all.models.len(), all.models[0].about.as_str()), (1, "mine"));
}

#[test]
fn entries_that_cannot_be_are_told_with_the_file_and_the_name() {
    let cases = [
        ("name = \"a\"", "name = \"../a\"", "begins with a letter"),
        ("name = \"a\"", "name = \".hidden\"", "begins with a letter"),
        ("path = \"a.bin\"", "path = \"../a.bin\"", "within the model's folder"),
        ("path = \"a.bin\"", "path = \"/a.bin\"", "within the model's folder"),
        ("deep/a.bin", "deep/../../a.bin", "within the model's folder"),
        ("main = \"a.bin\"", "main = \"b.bin\"", "none of its files"),
        ("hub = \"o/r\", ", "", "one of `hub`, `url`, `folder`, `wheel`"),
        (", revision = \"main\"", "", "`revision`"),
        ("source = {", "bogus = {", "unknown field `bogus`"),
        ("kind = \"stt\"", "kind = \"ears\"", "unknown variant `ears`"),
    ];
    for (from, to, expected) in cases {
        let error = parse(&ONE.replace(from, to)).expect_err(to).to_string();
        assert!(error.starts_with("test.toml: ") && error.contains(expected), "{to}: {error}");
    }
    let twice = format!("{ONE}{ONE}");
    assert!(parse(&twice).expect_err("twice").to_string().contains("the name is taken"));
    let bundle = "[[bundle]]\nname = \"b\"\nabout = \"\"\ndevice = \"cpu\"\nmodels = [\"nobody\"]\n";
    assert!(parse(bundle).expect_err("empty").to_string().contains("no model `nobody`"));
}
