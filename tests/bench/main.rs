//! Benchmarks that print ratios, measured side by side in one run: `make bench`, or `cargo bench --bench bench -- NAME…`.

#![allow(clippy::unwrap_used, reason = "what can't be done here ends the benchmark")]
#![allow(unreachable_pub, reason = "the tests share the support")]

mod consume;
mod latency;
mod producer;
#[path = "../support/mod.rs"]
#[allow(dead_code, reason = "the tests use the rest")]
mod support;

fn main() {
    let all: [(&str, fn()); 3] = [("producer", producer::run), ("consume", consume::run), ("latency", latency::run)];
    // Cargo adds flags of its own.
    let chosen: Vec<_> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    for (name, run) in all {
        if chosen.is_empty() || chosen.iter().any(|wanted| wanted == name) {
            println!("\n## {name}\n");
            run();
        }
    }
}
