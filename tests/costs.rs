//! What engines declare against what they take. One test, in a process of its own: others' memory would count.

use std::sync::Arc;

use antiphon::backend::catalog::{self, EnginesConfig, Loaded};
use antiphon::engine::compute::Unlimited;
use antiphon::engine::cost::Source;

#[expect(clippy::print_stdout, reason = "the figures are what this test is for; --nocapture shows them")]
fn check<E: ?Sized>(config: &EnginesConfig, pool: &str, loaded: &Loaded<E>) {
    let priced = catalog::costs(config);
    let entry = priced.iter().find(|entry| entry.pool == pool).expect("it is configured");
    let declared = entry.cost.as_ref().expect("its files are there");
    let measured = declared.with_load(loaded.measured, loaded.slots);
    assert_eq!((declared.ram.source, measured.ram.source), (Source::Declared, Source::Measured));
    let (told, took) = (declared.ram.loaded_bytes(entry.slots), measured.ram.loaded_bytes(entry.slots));
    println!("{pool} {}: declared {told} bytes, {took} bytes more resident after load", entry.name);
    assert!(told <= 2 * took && took <= 2 * told, "{pool}: {told} declared, {took} measured");
    assert!(measured.ram.peak_bytes(entry.slots) > took, "a slot at work takes more");
}

#[test]
fn declared_memory_of_the_starter_models_is_within_a_factor_of_two_of_the_measured() {
    let config = EnginesConfig::default();
    let engines = catalog::load(&config, Arc::new(Unlimited)).expect("the starter models load");
    check(&config, "stt", &engines.stt[0]);
    check(&config, "llm", &engines.llm[0]);
}
