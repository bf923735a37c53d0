//! Benchmarks that print ratios, measured side by side in one run: `make bench`, or `cargo bench --bench bench -- NAME…`.

#![allow(clippy::unwrap_used, reason = "what can't be done here ends the benchmark")]
#![allow(unreachable_pub, reason = "the tests share the support")]

mod archive;
mod connections;
mod consume;
mod crowd;
mod fanout;
mod latency;
mod memory;
mod proc;
mod producer;
mod replay;
mod search;
mod servers;
mod sinks;
mod store;
#[path = "../support/mod.rs"]
#[allow(dead_code, reason = "the tests use the rest")]
mod support;

#[path = "../../src/allocator.rs"]
mod allocator;

fn main() {
    if memory::is_child() || servers::is_child() {
        return;
    }
    allocator::keep_longer();
    let all: [(&str, fn()); 11] = [
        ("producer", producer::run),
        ("consume", consume::run),
        ("sinks", sinks::run),
        ("latency", latency::run),
        ("memory", memory::run),
        ("store", store::run),
        ("fanout", fanout::run),
        ("connections", connections::run),
        ("replay", replay::run),
        ("search", search::run),
        ("archive", archive::run),
    ];
    // Cargo adds flags of its own.
    let chosen: Vec<_> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    for (name, run) in all {
        if chosen.is_empty() || chosen.iter().any(|wanted| wanted == name) {
            println!("\n## {name}\n");
            run();
        }
    }
}

/// Whether it is to be seen only that a benchmark works.
fn is_small() -> bool {
    std::env::var_os("AGENTWORKS_BENCH_SMALL").is_some()
}
