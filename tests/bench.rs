//! The measurement of `benches/` still works: a tiny disk, without peers.

#[path = "../benches/peers/suite/mod.rs"]
mod suite;

use clap::Parser;
use serde_json::Value;

#[test]
fn a_tiny_measurement_writes_what_it_found() {
    let directory = tempfile::tempdir().unwrap();
    let out = directory.path().join("out");
    let options = ["bench", "--tiny", "--busy", "--rounds", "1", "--out", out.to_str().unwrap()];
    suite::run(&suite::Options::parse_from(options), env!("CARGO_BIN_EXE_vboximg-mount").as_ref()).unwrap();

    for name in ["peers.json", "peers-busy.json"] {
        let found: Value = serde_json::from_slice(&std::fs::read(out.join(name)).unwrap()).unwrap();
        let cases = found["cases"].as_array().unwrap();
        let medians =
            |case: &&Value| case["peers"]["this program"]["median"].as_f64().is_some_and(|number| number > 0.0);
        let missing: Vec<_> = cases.iter().filter(|case| !medians(case)).map(|case| &case["name"]).collect();
        assert!(missing.is_empty() && cases.len() >= 20, "{} cases, without a number: {missing:?}", cases.len());
        for (name, reason) in [("vboximg-mount", "not asked for"), ("qemu-storage-daemon", "not asked for")] {
            assert!(found["absent"][name].as_str().is_some_and(|text| text.contains(reason)), "{}", found["absent"]);
        }
        let ratio = cases[0]["ratios"]["raw file"].as_f64().unwrap();
        assert!(ratio > 0.0 && ratio.is_finite());
    }
}
