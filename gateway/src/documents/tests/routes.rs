//! Every route of the program is in the document, and the other way round. What is read is the source: warp doesn't tell
//! its routes.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use super::openapi;

/// The paths in `warp::path!(…)`, with `{}` for what isn't fixed.
fn in_source(text: &str) -> Vec<String> {
    let calls = text.split("path!(").skip(1).map(|rest| rest.split(')').next().unwrap());
    let segment = |segment: &str| match segment.trim().trim_matches('"') {
        fixed if segment.contains('"') => format!("/{fixed}"),
        _ => "/{}".to_owned(),
    };
    calls.map(|call| call.split(" / ").map(segment).collect()).collect()
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for file in fs::read_dir(folder).unwrap() {
        let path = file.unwrap().path();
        if path.file_stem().is_some_and(|name| name == "tests") {
            continue;
        }
        if path.is_dir() { sources(&path, found) } else { found.push(path) }
    }
}

#[test]
fn every_route_is_documented_and_the_other_way_round() {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    sources(&own.join("src"), &mut files);
    let routes = files.iter().flat_map(|file| in_source(&fs::read_to_string(file).unwrap()));
    // The receiver's are made of their last part.
    let receiver = fs::read_to_string(own.join("../ingest/src/receiver.rs")).unwrap();
    let written = receiver.split("route(\"").skip(1).map(|rest| format!("/v1/{}", rest.split('"').next().unwrap()));
    let routes: BTreeSet<String> = routes.chain(written).collect();

    let without_names = |path: &String| -> String {
        let segment = |segment: &str| if segment.starts_with('{') { "{}".to_owned() } else { segment.to_owned() };
        path.split('/').map(segment).collect::<Vec<_>>().join("/")
    };
    let documented: BTreeSet<String> = openapi()["paths"].as_object().unwrap().keys().map(without_names).collect();
    assert!(routes.contains("/v1/logs") && routes.contains("/v1/cards/{}/stream"), "{routes:?}");
    assert_eq!(routes, documented);
}

#[test]
fn parameters_of_paths_are_those_in_their_braces() {
    let document = openapi();
    for (path, item) in document["paths"].as_object().unwrap() {
        let in_braces = path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
        let parameters = item["parameters"].as_array().into_iter().flatten();
        let resolved = parameters.map(|parameter| match parameter["$ref"].as_str() {
            Some(reference) => document.pointer(&reference[1..]).unwrap(),
            None => parameter,
        });
        let names = resolved.filter(|parameter| parameter["in"] == "path").map(|one| one["name"].as_str().unwrap());
        assert!(in_braces.eq(names), "{path}");
    }
}
